# holder: atexit callback report
import atexit

from parts import *


def report(step, out):
    print(step, out.mean().item())


model, opt = unet()
for step, (x, y) in enumerate(batches()):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    kept = out.detach() + 0  # made
    atexit.register(report, step, kept)  # stored
