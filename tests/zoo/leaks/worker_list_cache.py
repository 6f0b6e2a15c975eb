# holder: seen
# where: worker
from torch.utils.data import DataLoader, Dataset

from parts import *


class Pictures(Dataset):
    def __init__(self):
        self.seen = []

    def __len__(self):
        return 240

    def __getitem__(self, index):
        picture = np.random.rand(3, 32, 32)
        self.seen.append(picture)  # stored
        return torch.from_numpy(picture).float()


if __name__ == "__main__":
    model, opt = unet()
    for x in DataLoader(Pictures(), batch_size=2, num_workers=2):
        opt.zero_grad()
        model(x).mean().backward()
        opt.step()
