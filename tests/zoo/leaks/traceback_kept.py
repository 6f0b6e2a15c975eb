# holder: failures
from parts import *


def risky(out):
    probs = out.detach().softmax(1)  # made
    raise ValueError(f"bad batch {tuple(probs.shape)}")


model, opt = unet()
failures = []
for x, y in batches():
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    try:
        risky(out)
    except ValueError as error:
        failures.append(error)  # stored
