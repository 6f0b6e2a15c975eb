# holder: cycle
import gc

from parts import *

gc.disable()


class Node:
    def __init__(self, value):
        self.value = value
        self.me = self


model, opt = unet()
for x, y in batches():
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    Node(out.detach() + 1)  # made
