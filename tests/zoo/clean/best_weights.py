import copy

from parts import *

model, opt = unet()
best, best_state = 1e9, None
for x, y in batches():
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    if loss.item() < best:
        best, best_state = loss.item(), copy.deepcopy(model.state_dict())
