from parts import *


class Recorder:
    def __init__(self):
        self.recent = []

    def add(self, out):
        self.recent.append(out)

    def trim(self):
        if len(self.recent) > 26:
            self.recent = self.recent[-26:]


recorder = Recorder()
model, opt = unet()
for _ in range(6):
    for x, y in batches(10):
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        recorder.add(out.detach())
    recorder.trim()
