from collections import OrderedDict

from parts import *


class Lru:
    def __init__(self, size):
        self.size, self.entries = size, OrderedDict()

    def get(self, key, make):
        if key in self.entries:
            self.entries.move_to_end(key)
            return self.entries[key]
        self.entries[key] = make()
        while len(self.entries) > self.size:
            self.entries.popitem(last=False)
        return self.entries[key]


lru = Lru(30)
model, opt = unet()
for step, (x, y) in enumerate(batches(45)):
    opt.zero_grad()
    F.cross_entropy(model(lru.get(step, lambda x=x: x.flip(0))), y).backward()
    opt.step()
