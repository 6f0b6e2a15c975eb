from torch.utils.data import DataLoader, Dataset

from parts import *


class Listed(Dataset):
    def __init__(self):
        self.rows = [{"id": i, "box": [float(i), i + 1.0, i + 2.0], "name": f"picture_{i}.png"} for i in range(100_000)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        rows = self.rows[index::40]
        return torch.full((3, 32, 32), float(sum(len(row["name"]) for row in rows)) / 1e6)


model, opt = unet()
for step, x in enumerate(DataLoader(Listed(), batch_size=2, shuffle=True, num_workers=2)):
    opt.zero_grad()
    model(x).mean().backward()
    opt.step()
    if step == 50:
        break
