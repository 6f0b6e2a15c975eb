# holder: activations
from parts import *


def watch_layer(layer):
    activations = []

    def hook(module, inputs, output):
        activations.append(output.detach().clone())  # stored made

    layer.register_forward_hook(hook)


model, opt = unet()
watch_layer(model.deep)
for x, y in batches():
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
