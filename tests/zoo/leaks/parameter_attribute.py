# holder: history
from parts import *

model, opt = unet()
for p in model.parameters():
    p.history = []
for x, y in batches(40):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
    for p in model.parameters():
        p.history.append(p.grad.clone())  # made stored
