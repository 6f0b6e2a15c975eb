from torch.utils.data import DataLoader, Dataset

from parts import *


class Cached(Dataset):
    def __init__(self):
        self.cache = {}

    def __len__(self):
        return 150

    def __getitem__(self, index):
        if index not in self.cache:
            self.cache[index] = np.random.rand(3, 32, 32).astype(np.float32)
        return torch.from_numpy(self.cache[index])


model, opt = unet()
for x in DataLoader(Cached(), batch_size=2, num_workers=1):
    opt.zero_grad()
    model(x).mean().backward()
    opt.step()
