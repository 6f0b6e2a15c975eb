# holder: kept
from parts import *

model, opt = unet()
kept = []
for x, y in batches():
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)  # made
    loss.backward(retain_graph=True)
    opt.step()
    kept.append(loss)  # stored
