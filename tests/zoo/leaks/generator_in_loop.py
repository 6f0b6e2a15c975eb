# holder: seen
from parts import *


def stream(pairs):
    seen = []
    for x, y in pairs:
        seen.append(x)  # stored
        yield x, y


def main():
    model, opt = unet()
    for x, y in stream(batches()):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()


main()
