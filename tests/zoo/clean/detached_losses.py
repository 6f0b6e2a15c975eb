from parts import *

history = []
model, opt = unet()
for x, y in batches(40):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    history.append(loss.detach())  # four bytes a step: a log, as long as a million steps are less than a gigabyte
