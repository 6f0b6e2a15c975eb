from torch.utils.data import DataLoader, TensorDataset

from parts import *

data = TensorDataset(torch.rand(80, 3, 32, 32), torch.randint(0, 2, (80, 32, 32)))
model, opt = unet()
for epoch in range(2):
    for x, y in DataLoader(data, batch_size=2, num_workers=2, shuffle=True):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
