from functools import lru_cache

from parts import *


@lru_cache(maxsize=40)
def noise(step):
    return torch.rand(32, 32)


model, opt = unet()
for step, (x, y) in enumerate(batches()):
    opt.zero_grad()
    F.cross_entropy(model(x + noise(step)), y).backward()
    opt.step()
