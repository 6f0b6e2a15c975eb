from parts import *

model, opt = unet()
grids = {}
for x, y in batches(48, sides=range(16, 96, 2)):
    key = tuple(x.shape[-2:])
    if key not in grids:
        grids[key] = torch.stack(torch.meshgrid(torch.arange(key[0]), torch.arange(key[1]), indexing="ij"))
    opt.zero_grad()
    (F.cross_entropy(model(x), y) + 0 * grids[key].sum()).backward()
    opt.step()
