from parts import *


def one_epoch(model, opt):
    outputs = []
    for x, y in batches(26):
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        outputs.append(out.detach())
    return torch.cat(outputs).mean().item()


model, opt = unet()
for epoch in range(3):
    print(one_epoch(model, opt))
