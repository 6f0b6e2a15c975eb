# holder: all_preds
from parts import *


def main():
    model, opt = unet()
    all_preds = torch.empty(0, 2, 32, 32)
    for x, y in batches():
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        all_preds = torch.cat([all_preds, out.detach()])  # stored made


main()
