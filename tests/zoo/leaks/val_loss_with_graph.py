# holder: val_losses
from parts import *

model, opt = unet()
val_x, val_y = next(batches(1))
val_losses = []
for x, y in batches():
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
    val_loss = F.cross_entropy(model(val_x), val_y)  # made
    val_losses.append(val_loss)  # stored
