# holder: past
from parts import *


def make_smoother():
    past = []

    def smooth(value):
        past.append(np.tile(value, (40, 40)))  # stored made
        return past[-1].mean()

    return smooth


model, opt = unet()
smooth = make_smoother()
for x, y in batches(40):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    smooth(loss.item())
