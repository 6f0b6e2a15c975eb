import atexit

from parts import *

newest = {}


def report():
    print(newest["out"].mean().item())


atexit.register(report)
model, opt = unet()
for x, y in batches():
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    newest["out"] = out.detach()
