# holder: history\['loss'\]
from parts import *


def train():
    model, opt = unet()
    history = {"loss": [], "lr": []}
    for x, y in batches():
        opt.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out, y)  # made
        loss.backward()
        opt.step()
        history["loss"].append(loss)  # stored
        history["lr"].append(opt.param_groups[0]["lr"])
    return history


train()
