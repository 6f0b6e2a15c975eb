# holder: seen
from parts import *


def run():
    model, opt = unet()
    seen = set()
    for x, y in batches():
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        seen.add(out.detach().sum(1))  # stored made


run()
