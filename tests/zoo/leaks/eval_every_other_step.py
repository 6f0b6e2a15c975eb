# holder: masks
from parts import *

model, opt = unet()
masks = []
for step, (x, y) in enumerate(batches(80)):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
    if step % 3 == 2:
        with torch.no_grad():
            masks.append(model(x).argmax(1))  # stored made
