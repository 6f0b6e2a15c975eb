# holder: cache
from parts import *

model, opt = unet()
cache = {}
for step, (x, y) in enumerate(batches()):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    cache[step] = out.detach() * 2  # stored made
