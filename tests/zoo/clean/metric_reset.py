from parts import *


class Dice:
    def __init__(self):
        self.reset()

    def reset(self):
        self.preds, self.targets = [], []

    def update(self, out, y):
        self.preds.append(out.detach().argmax(1))
        self.targets.append(y)

    def compute(self):
        return (torch.cat(self.preds) == torch.cat(self.targets)).float().mean()


model, opt = unet()
dice = Dice()
for epoch in range(3):
    for x, y in batches(25):
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        dice.update(out, y)
    print(dice.compute())
    dice.reset()
