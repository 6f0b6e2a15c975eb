from parts import *

model, opt = unet()
calibration = []
for step, (x, y) in enumerate(batches(70)):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    if step < 28:
        calibration.append(out.detach())
    elif step == 28:
        print(torch.stack(calibration).std())
        calibration.clear()
