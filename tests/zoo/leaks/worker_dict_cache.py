# holder: augmented
# where: worker
from torch.utils.data import DataLoader, Dataset

from parts import *

augmented = {}


class Pictures(Dataset):
    def __len__(self):
        return 200

    def __getitem__(self, index):
        key = (index, random.random())
        if key not in augmented:
            augmented[key] = np.random.rand(3, 32, 32)  # stored made
        return torch.from_numpy(augmented[key]).float()


def main():
    model, opt = unet()
    for x in DataLoader(Pictures(), batch_size=2, num_workers=1):
        opt.zero_grad()
        model(x).mean().backward()
        opt.step()


if __name__ == "__main__":
    main()
