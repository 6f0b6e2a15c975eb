# holder: watchers
import weakref

from parts import *

model, opt = unet()
watchers = []
for x, y in batches(40):
    opt.zero_grad()
    out = model(x)
    loss = F.cross_entropy(out, y)
    loss.backward()
    opt.step()
    saved = out.detach().clone()  # made
    watchers.append(weakref.ref(model, lambda _, saved=saved: print(saved.mean())))  # stored
