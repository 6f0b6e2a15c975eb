# holder: cache
# where: host
from torch.utils.data import DataLoader, Dataset

from parts import *


class Pictures(Dataset):
    def __init__(self):
        self.cache = []

    def __len__(self):
        return 80

    def __getitem__(self, index):
        picture = np.random.rand(3, 32, 32).astype(np.float32)
        self.cache.append(picture)  # stored
        return torch.from_numpy(picture)


model, opt = unet()
for x in DataLoader(Pictures(), batch_size=2):
    opt.zero_grad()
    model(x).mean().backward()
    opt.step()
