# holder: weights_for
from functools import lru_cache

from parts import *


@lru_cache(maxsize=None)
def weights_for(key):
    return torch.rand(64, 64)  # made


model, opt = unet()
for step, (x, y) in enumerate(batches()):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y) * weights_for(step).mean()
    loss.backward()
    opt.step()
