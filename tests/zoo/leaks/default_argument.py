# holder: seen
from parts import *


def mean_so_far(out, seen=[]):
    seen.append(out.detach())  # stored
    return torch.stack([each.mean() for each in seen]).mean()


model, opt = unet()
for x, y in batches(40):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    mean_so_far(out)
