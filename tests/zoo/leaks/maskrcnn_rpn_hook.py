# holder: features
from parts import *

model, opt = maskrcnn()
features = []
model.rpn.head.register_forward_hook(lambda module, inputs, output: features.append(output))  # stored
for images, targets in scenes():
    opt.zero_grad()
    sum(model(images, targets).values()).backward()
    opt.step()
