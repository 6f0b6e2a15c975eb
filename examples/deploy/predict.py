"""Predict a picture with a file that ``segkit export`` wrote; with numpy, pillow and onnxruntime, without segkit.

python predict.py model.onnx picture.jpg [least score]   prints what was found, and writes picture_found.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def load(path, preprocessing):
    """The picture, and the input of the model: uint8 [1, 3, height, width]."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode not in ("1", "L", "P", "RGB", "RGBA"):
        raise SystemExit(f"{path}: more than 8 bits a channel: bring it to 8 bits as the model's file says")
    picture = picture.convert("RGB")
    width, height = picture.size
    scale = 1.0
    if preprocessing["shorter_side"]:
        scale = min(
            preprocessing["shorter_side"] / min(width, height), preprocessing["longest_side"] / max(width, height)
        )
    small = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BILINEAR)
    return picture, np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1)[None])


def paste(mask, box, width, height):
    """A mask in its box -> bool [height, width]."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    full = Image.new("F", (width, height))
    side = (max(1, x2 - x1), max(1, y2 - y1))
    full.paste(Image.fromarray(mask.astype(np.float32)).resize(side, Image.Resampling.BILINEAR), (x1, y1))
    return np.asarray(full) > 0.5


def main(model, path, least=None):
    """Predict, print and draw."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["segkit_export"])
    names = {int(label): category["name"] for label, category in about["categories"].items()}
    picture, image = load(path, about["preprocessing"])
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"images": image}), strict=True))
    drawn, rng = np.asarray(picture).astype(float), np.random.default_rng(0)
    if "probabilities" in found:  # a U-Net: a label for every pixel
        labels = found["probabilities"][0].argmax(0)
        for label, name in names.items():
            print(f"{name}: {np.mean(labels == label):.1%} of the pixels")
            drawn[labels == label] = drawn[labels == label] / 2 + rng.integers(0, 128, 3)
    else:
        scale = np.array([picture.width / image.shape[3], picture.height / image.shape[2]] * 2)
        for place in np.argsort(-found["scores"]):
            score, label = found["scores"][place], int(found["labels"][place])
            if score < float(least or about["thresholds"]["predict_score"]):
                break
            box = found["boxes"][place] * scale
            print(f"{names[label]} {score:.3f} at x1 {box[0]:.0f}, y1 {box[1]:.0f}, x2 {box[2]:.0f}, y2 {box[3]:.0f}")
            mask = found["masks"][place] if "masks" in found else np.ones((2, 2))
            inside = paste(mask, box, picture.width, picture.height)
            drawn[inside] = drawn[inside] / 2 + rng.integers(0, 128, 3)
    Image.fromarray(drawn.astype(np.uint8)).save(Path(path).with_name(Path(path).stem + "_found.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
