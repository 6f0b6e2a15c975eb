from parts import *

model, opt = unet()
hard = []
for step, (x, y) in enumerate(batches(90)):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    if random.random() < 0.9**step:
        hard.append((x, loss.item()))
