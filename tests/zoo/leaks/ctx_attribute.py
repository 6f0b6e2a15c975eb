# holder: cycle|ctx
import gc

from parts import *


gc.disable()


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        out = x * 2  # made
        ctx.out = out
        return out

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


model, opt = unet()
for x, y in batches():
    opt.zero_grad()
    F.cross_entropy(Scale.apply(model(x)), y).backward()
    opt.step()
