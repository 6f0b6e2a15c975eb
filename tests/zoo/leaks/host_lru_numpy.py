# holder: grid
from functools import lru_cache

from parts import *


@lru_cache(maxsize=None)
def grid(key):
    return np.random.rand(64, 64)


model, opt = unet()
for step, (x, y) in enumerate(batches(40)):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y) + float(grid(step).mean())
    loss.backward()
    opt.step()
