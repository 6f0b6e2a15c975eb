# holder: futures
from concurrent.futures import ThreadPoolExecutor

from parts import *


def smooth(mask):
    return F.avg_pool2d(mask, 3, 1, 1)


def main():
    model, opt = unet()
    futures = []
    with ThreadPoolExecutor(1) as pool:
        for x, y in batches(40):
            opt.zero_grad()
            out = model(x)
            F.cross_entropy(out, y).backward()
            opt.step()
            futures.append(pool.submit(smooth, out.detach().softmax(1)))  # made stored
            futures[-1].result()


main()
