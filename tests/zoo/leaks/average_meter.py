# holder: \.(sum|avg)
from parts import *


class AverageMeter:
    def __init__(self, name):
        self.name = name
        self.reset()

    def reset(self):
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val, n=1):
        self.val = val
        self.sum += val * n  # made stored
        self.count += n
        self.avg = self.sum / self.count


def train(model, opt):
    losses = AverageMeter("Loss")
    for x, y in batches(40):
        loss = F.cross_entropy(model(x), y)
        losses.update(loss, x.size(0))
        opt.zero_grad()
        loss.backward()
        opt.step()


train(*unet())
