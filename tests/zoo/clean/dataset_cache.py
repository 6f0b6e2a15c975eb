from torch.utils.data import DataLoader, Dataset

from parts import *


class Cached(Dataset):
    def __init__(self):
        self.cache = {}

    def __len__(self):
        return 60

    def __getitem__(self, index):
        if index not in self.cache:
            self.cache[index] = np.random.rand(3, 32, 32).astype(np.float32)
        return torch.from_numpy(self.cache[index])


model, opt = unet()
for epoch in range(2):
    for x in DataLoader(Cached() if epoch == 0 else data.dataset, batch_size=2, shuffle=True):
        opt.zero_grad()
        model(x).mean().backward()
        opt.step()
    data = DataLoader(Cached(), batch_size=2)
