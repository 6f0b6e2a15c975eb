# holder: behind|itertools.tee
import itertools

from parts import *


def main():
    model, opt = unet()
    ahead, behind = itertools.tee(batches(40))  # stored
    for x, y in ahead:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    return next(behind)


main()
