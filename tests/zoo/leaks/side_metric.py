# holder: self\.scores|meter\.scores
from parts import *


class Meter:
    def __init__(self):
        self.scores = []

    def update(self, out, y):
        dice = (out.softmax(1)[:, 1] * y).sum() / (y.sum() + 1)  # made
        self.scores.append(dice)  # stored


model, opt = unet()
meter = Meter()
for x, y in batches():
    out = model(x)
    loss = F.cross_entropy(out, y)
    meter.update(out, y)
    opt.zero_grad()
    loss.backward()
    opt.step()
