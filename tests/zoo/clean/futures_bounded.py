from concurrent.futures import ThreadPoolExecutor

from parts import *


def main():
    model, opt = unet()
    pending = []
    with ThreadPoolExecutor(1) as pool:
        for x, y in batches(40):
            opt.zero_grad()
            out = model(x)
            F.cross_entropy(out, y).backward()
            opt.step()
            pending.append(pool.submit(F.avg_pool2d, out.detach(), 3))
            while len(pending) > 6:
                pending.pop(0).result()


main()
