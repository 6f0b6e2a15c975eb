# holder: logged
from parts import *

model, opt = maskrcnn()
logged = []
for images, targets in scenes():
    losses = model(images, targets)
    opt.zero_grad()
    sum(losses.values()).backward()
    opt.step()
    logged.append(losses)  # stored
