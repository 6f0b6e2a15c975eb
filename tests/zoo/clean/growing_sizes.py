from parts import *

model, opt = unet()
for step in range(40):
    side = 16 + 2 * step
    x, y = next(batches(1, sides=(side,)))
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
