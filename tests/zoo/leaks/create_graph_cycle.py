# holder: cycle
import warnings

from parts import *

warnings.filterwarnings("ignore")
model, opt = unet()
for x, y in batches():
    x.requires_grad_(True)
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward(create_graph=True)  # stored
    opt.step()
