from parts import *

model, opt = unet()
for _ in range(STEPS):
    opt.zero_grad()
    total = 0.0
    for x, y in batches(4):
        loss = F.cross_entropy(model(x), y) / 4
        loss.backward()
        total += loss.item()
    opt.step()
