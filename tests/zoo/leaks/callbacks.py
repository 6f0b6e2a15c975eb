# holder: callbacks
from functools import partial

from parts import *


def report(out, step):
    print(step, out.mean().item())


callbacks = []
model, opt = unet()
for step, (x, y) in enumerate(batches()):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    callbacks.append(partial(report, out.detach() * 1, step))  # stored made
