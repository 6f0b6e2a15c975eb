# holder: background
import asyncio

from parts import *

background = set()


async def upload(mask):
    await asyncio.sleep(0)
    return mask * 2  # made


async def main():
    model, opt = unet()
    for x, y in batches(40):
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        mask = out.detach().sigmoid()
        background.add(asyncio.create_task(upload(mask)))  # stored
        await asyncio.sleep(0.001)


asyncio.run(main())
