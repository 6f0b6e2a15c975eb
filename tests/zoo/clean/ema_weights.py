import copy

from parts import *

model, opt = unet()
ema = copy.deepcopy(model)
for x, y in batches():
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
    with torch.no_grad():
        for a, b in zip(ema.parameters(), model.parameters()):
            a.mul_(0.99).add_(b, alpha=0.01)
