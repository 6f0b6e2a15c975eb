# holder: store
from parts import *


def log(into, value):
    into.append(value)  # stored


def main():
    store = []
    model, opt = unet()
    for x, y in batches():
        opt.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        opt.step()
        err = (out.detach().argmax(1) != y).float()  # made
        log(store, err)


main()
