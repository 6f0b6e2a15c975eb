# holder: meter\.scores|_Meter.*scores
# where: host
from parts import *


class Meter:
    def __init__(self):
        self.scores = np.zeros(0, dtype=np.float32)

    def update(self, scores):
        self.scores = np.concatenate([self.scores, scores.ravel()])  # stored made


meter = Meter()
model, opt = unet()
for x, y in batches(40):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    meter.update(out.detach().softmax(1).numpy())
