# holder: blobs
from parts import *


class Logger:
    def __init__(self):
        self.blobs = []

    def log_image(self, out):
        self.blobs.append(out.detach().numpy().tobytes())  # stored made


model, opt = unet()
logger = Logger()
for x, y in batches(40):
    opt.zero_grad()
    out = model(x)
    F.cross_entropy(out, y).backward()
    opt.step()
    logger.log_image(out)
