# holder: Registry\.kept
from parts import *


class Registry:
    kept = []

    @classmethod
    def put(cls, value):
        cls.kept.append(value)  # stored


def train():
    model, opt = unet()
    for x, y in batches():
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        Registry.put(out.detach().clone())  # made


train()
