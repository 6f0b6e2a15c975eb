# holder: kept
from parts import *


def smoother():
    kept = []
    value = None
    while True:
        new = yield value
        kept.append(new.detach() + 0)  # stored made
        value = len(kept)


model, opt = unet()
gen = smoother()
next(gen)
for x, y in batches():
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    gen.send(out)
