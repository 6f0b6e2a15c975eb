"""Mask R-CNN in ONNX Runtime: segkit's graph beside torchvision's own, on the same image, one thread.

python benchmarks/onnx_speed.py [--backbone mobilenet_v3_large] [--side 640] [--repeat 15]

Random weights, 100 instances: the least score is 0. All have 1000 proposals. Torchvision's graph also resizes, and
pastes masks into the image. "segkit traced" is the model traced for one image, as files of an older segkit are.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone

from segkit.data.geometry import Framing
from segkit.data.records import Category
from segkit.exporting.graphs import graph_of
from segkit.exporting.onnx import quiet, write_onnx
from segkit.models.card import ModelCard
from segkit.models.detector_settings import DetectorSettings

CLASSES = 5


def of_segkit(backbone, side, path, one_image):
    settings = DetectorSettings(proposals=2000, detections=100)
    categories = tuple(Category(number, f"c{number}") for number in range(1, CLASSES))
    framing = Framing("instances", side, side)
    card = ModelCard("maskrcnn", backbone, "batch", "ce+dice", settings, framing, categories, "background")
    torch.manual_seed(0)
    model = card.build().eval()
    model.roi_heads.score_thresh = 0.0
    write_onnx(graph_of(model, card), {"segkit": json.dumps(card.to_plain())}, path)
    if one_image is not None:
        from segkit.exporting.graphs import Graph, _OneImage
        from segkit.runtimes.exported import output_names

        names = output_names(card)
        free = {"image": {1: "height", 2: "width"}, **{name: {0: "instances"} for name in names}}
        write_onnx(Graph(_OneImage(model, names).eval(), "image", names, free), {}, one_image)


def of_torchvision(backbone, side, path):
    torch.manual_seed(0)
    if backbone.startswith("mobilenet"):
        layers = [1, 2, 3, 5]  # strides 4 to 32, as in segkit
        body = mobilenet_backbone(backbone, weights=None, fpn=True, trainable_layers=6, returned_layers=layers)
    else:
        body = resnet_fpn_backbone(backbone_name=backbone, weights=None, trainable_layers=5)
    levels = len(body(torch.zeros(1, 3, 64, 64)))
    anchors = AnchorGenerator(tuple((32 * 2**level,) for level in range(levels)), ((0.5, 1.0, 2.0),) * levels)
    model = MaskRCNN(
        body, CLASSES, min_size=side, max_size=side, box_score_thresh=0.0, rpn_anchor_generator=anchors
    ).eval()
    example = torch.rand(3, side, side)
    with quiet(), torch.no_grad():
        torch.onnx.export(
            model, ([example],), str(path), dynamo=False, opset_version=17, input_names=["image"],
            output_names=["boxes", "labels", "scores", "masks"],
            dynamic_axes={"image": {1: "height", 2: "width"}},
        )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mobilenet_v3_large")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    pixels = np.random.default_rng(0).integers(0, 256, (3, options.side, options.side), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("segkit", "segkit traced", "torchvision")}
        of_segkit(options.backbone, options.side, files["segkit"], files["segkit traced"])
        of_torchvision(options.backbone, options.side, files["torchvision"])
        given = {
            "segkit": {"images": pixels[None]},
            "segkit traced": {"image": pixels},
            "torchvision": {"image": pixels.astype(np.float32) / 255},
        }
        settings = ort.SessionOptions()
        settings.intra_op_num_threads, settings.log_severity_level = 1, 3
        sessions = {
            n: ort.InferenceSession(str(f), settings, providers=["CPUExecutionProvider"]) for n, f in files.items()
        }
        spent = {name: [] for name in files}
        for repetition in range(options.repeat + 2):
            for name, session in sessions.items():
                began = time.process_time()
                found = session.run(None, given[name])
                if repetition > 1:
                    spent[name].append(time.process_time() - began)
                elif repetition == 0:
                    print(json.dumps({"graph": name, "instances": len(found[0]), "bytes": files[name].stat().st_size}))
    for name, seconds in spent.items():
        low, middle, high = (1000 * float(np.percentile(seconds, share)) for share in (5, 50, 95))
        ratio = statistics.median(seconds) / statistics.median(spent["torchvision"])
        print(
            json.dumps(
                {"graph": name, "cpu_ms": round(middle), "p5": round(low), "p95": round(high), "ratio": round(ratio, 3)}
            )
        )


if __name__ == "__main__":
    main()
