# holder: micro_losses
from parts import *

model, opt = unet()
micro_losses = []
for step in range(STEPS):
    opt.zero_grad()
    for x, y in batches(4):
        loss = F.cross_entropy(model(x), y) / 4  # made
        loss.backward()
        micro_losses.append(loss)  # stored
    opt.step()
