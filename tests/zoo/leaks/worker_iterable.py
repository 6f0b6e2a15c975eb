# holder: buffer
# where: worker
from torch.utils.data import DataLoader, IterableDataset

from parts import *


class Stream(IterableDataset):
    def __init__(self):
        self.buffer = []

    def __iter__(self):
        for _ in range(150):
            sample = torch.rand(3, 32, 32)
            self.buffer.append(sample)  # stored
            yield sample


model, opt = unet()
for x in DataLoader(Stream(), batch_size=2, num_workers=2):
    opt.zero_grad()
    model(x).mean().backward()
    opt.step()
