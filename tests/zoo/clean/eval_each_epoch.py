from parts import *

model, opt = unet()
for epoch in range(4):
    model.train()
    for x, y in batches(10):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        preds = [model(x).argmax(1) for x, _ in batches(10)]
    print(torch.cat(preds).float().mean())
