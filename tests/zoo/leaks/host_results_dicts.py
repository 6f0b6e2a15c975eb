# holder: results
from parts import *


def encode(mask):
    flat = mask.flatten().tolist()
    return {"counts": [[i, v] for i, v in enumerate(flat[:300])], "size": list(mask.shape)}  # made


def main():
    model, opt = unet()
    results = []
    for step, (x, y) in enumerate(batches(40)):
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        for mask in out.argmax(1):
            results.append({"image_id": step, "segmentation": encode(mask)})  # stored


main()
