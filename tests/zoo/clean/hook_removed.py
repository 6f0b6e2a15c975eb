from parts import *

model, opt = unet()
for x, y in batches():
    seen = {}
    handle = model.deep.register_forward_hook(lambda m, i, o: seen.update(out=o))
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
    handle.remove()
