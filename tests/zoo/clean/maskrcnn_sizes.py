from parts import *

model, opt = maskrcnn()
for images, targets in scenes(sides=(64, 72, 80, 96)):
    opt.zero_grad()
    sum(model(images, targets).values()).backward()
    opt.step()
