# holder: total
from parts import *

model, opt = unet()
total = 0
for x, y in batches():
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    total += loss  # stored made
print(total.item())
