# holder: atexit callback flush.__self__.loss
import atexit

from parts import *


class Log:
    def __init__(self, loss):
        self.loss = loss

    def flush(self):
        pass


def remember(loss):
    atexit.register(Log(loss).flush)  # stored


model, opt = unet()
for x, y in batches():
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    remember(loss)
