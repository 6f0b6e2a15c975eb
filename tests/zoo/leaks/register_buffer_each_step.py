# holder: _buffers|model
from parts import *

model, opt = unet()
for step, (x, y) in enumerate(batches()):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    model.register_buffer(f"snap{step}", out.detach() * 1)  # stored made
