# holder: _forward_hooks
from parts import *


def step(model, opt, x, y):
    seen = {}

    def hook(module, inputs, output):
        seen["out"] = output.detach()

    model.head.register_forward_hook(hook)  # stored
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
    return seen


model, opt = unet()
for x, y in batches():
    step(model, opt, x, y)
