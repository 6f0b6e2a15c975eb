"""Pictures from disk to results: ``segkit predict`` beside a script with torchvision's Mask R-CNN and the same weights.

    python benchmarks/predict_speed.py [--pictures 200] [--height 480 --width 640] [--size 800 --max-size 1333]
    python benchmarks/predict_speed.py --model RUN/best.pt --data DATASET   # trained weights, and AP on its val split

The script is torchvision's own recipe: a picture at a time, Pillow, ``to_tensor``, the model, masks in whole images,
threshold, pycocotools' encoding, results.json. segkit runs as a command. Each is a process of its own, on one thread
(``--workers 0``: nothing is read ahead), from the start of Python to its end; user and system time are measured, too.

Correctness comes first. Both have the same weights and the same settings: anchors, proposals, detections, thresholds,
sizes, and torchvision's own way to lay masks into boxes (a copy of the checkpoint says so, ``aligned_masks`` False).
``--proposals torchvision`` gives the script torchvision's own 1000 proposals instead. With ``--data``: mask AP of both
against its annotations. Without a dataset, pictures of discs and noise are drawn and the weights are random, each
head's last layer scaled so that its answers spread; then the AP of segkit's results against torchvision's, as if these
were annotations, says whether the results are the same. Masks without a pixel are left out there: no result matches
one, so that even torchvision's results have an AP of 0.76 against themselves. The script ends where AP differs by more
than ``--tolerance``. segkit resizes bytes and torchvision floats: half a grey level moves scores a little, and random
weights more than trained ones. So the script resizes bytes as segkit does, unless ``--resize torchvision`` asks for its
own way, which does not antialias pictures that it makes smaller: segkit does, in training, too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage

from segkit.data.geometry import Framing
from segkit.data.masks import rle_area, to_rle
from segkit.data.records import Annotation, Category, Dataset, Image, Result
from segkit.evaluation.coco.score import score_results
from segkit.formats.coco.file import read_results
from segkit.formats.dataset_folder import open_split
from segkit.loading.whole import load_for_model
from segkit.models.card import ModelCard
from segkit.models.detector import DetectorSettings
from segkit.models.tensors import labels_of
from segkit.runs.checkpoint import load_model, save_checkpoint

CATEGORIES = tuple(Category(number, f"category {number}") for number in (1, 2, 3))
SCORE = 0.05  # torchvision's own


def draw_pictures(folder: Path, count: int, height: int, width: int) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    for number in range(count):
        pixels = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
        for _ in range(20):
            y, x, radius = random.integers(height), random.integers(width), random.integers(8, height // 6)
            pixels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] += random.integers(40, 190, 3, dtype=np.uint8)
        PilImage.fromarray(pixels).save(folder / f"{number:04d}.png")  # decoders of JPEG differ by a grey level


def random_model(path: Path, size: int, max_size: int, picture: Path) -> None:
    """A Mask R-CNN of torchvision's design whose answers spread, so that rounding changes little.

    The last layer of each head is scaled until its answers about a picture have the spread of a trained one's.
    """
    framing = Framing("instances", size, max_size)
    settings = DetectorSettings(proposals=2000, before_nms=2000)  # torchvision's numbers, in training and afterwards
    card = ModelCard("maskrcnn", "resnet50", "batch", "ce+dice", settings, framing, CATEGORIES, "background")
    torch.manual_seed(3)
    module: Any = card.build().eval()
    heads = module.roi_heads
    layers = (
        (module.rpn.head.cls_logits, 2.0), (module.rpn.head.bbox_pred, 0.3), (heads.box_predictor.cls_score, 1.5),
        (heads.box_predictor.bbox_pred, 1.0), (heads.mask_predictor.mask_fcn_logits, 2.0),
    )  # fmt: skip
    image = torch.from_numpy(np.asarray(PilImage.open(picture).convert("RGB")).copy()).permute(2, 0, 1)
    with torch.inference_mode():
        for layer, spread in layers:  # in the order in which one sees the other's answers
            seen: list[float] = []
            hook = layer.register_forward_hook(lambda module, inputs, output, to=seen: to.append(output.std().item()))
            module([image])
            hook.remove()
            layer.weight.mul_(spread / max(seen))
    save_checkpoint(path, {"card": card.to_plain(), "model": module.state_dict(), "step": 1})


def with_masks_of_torchvision(model: Path, copy: Path) -> None:
    """A copy of a checkpoint whose masks are laid into boxes as torchvision does, by both."""
    module, card = load_model(model, torch.device("cpu"))
    card = replace(card, settings=replace(card.settings, aligned_masks=False))
    save_checkpoint(copy, {"card": card.to_plain(), "model": module.state_dict(), "step": 1})


def resized(image: torch.Tensor, transform: Any, framing: Framing) -> torch.Tensor:
    """A normalised picture [C, H, W] made smaller or larger as segkit does it, on its bytes."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (transform.image_mean, transform.image_std))
    pixels = ((image * std + mean) * 255).round().byte().permute(1, 2, 0).numpy()
    normalised: torch.Tensor = transform.normalize(torch.from_numpy(load_for_model(pixels, framing)) / 255)
    return normalised


def torchvision_model(path: Path, proposals: str = "same", resize: str = "same") -> tuple[Any, ModelCard]:
    """torchvision's own model with the weights and the settings of a checkpoint."""
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    ours, card = load_model(path, torch.device("cpu"))
    if card.backbone.startswith("resnet"):
        norm = torch.nn.BatchNorm2d if card.norm == "batch" else FrozenBatchNorm2d
        backbone = resnet_fpn_backbone(backbone_name=card.backbone, weights=None, norm_layer=norm, trainable_layers=5)
    else:
        backbone = ours.backbone  # PyTorch's own modules; torchvision has no function for them
    settings, numbers = card.settings, {}
    if proposals == "same":
        numbers = {
            "rpn_pre_nms_top_n_test": ours.rpn._pre_nms_top_n["testing"],
            "rpn_post_nms_top_n_test": ours.rpn._post_nms_top_n["testing"],
        }
    sizes = tuple((side,) for side in settings.anchor_sizes)
    model = MaskRCNN(
        backbone, len(card.categories) + 1, min_size=card.framing.size, max_size=card.framing.max_size,
        rpn_anchor_generator=AnchorGenerator(sizes, (settings.anchor_ratios,) * len(sizes)),
        box_detections_per_img=settings.detections, box_score_thresh=SCORE, box_nms_thresh=settings.nms, **numbers,
    )  # fmt: skip
    model.load_state_dict(ours.state_dict())
    if resize == "same":
        model.transform.resize = lambda image, target=None: (resized(image, model.transform, card.framing), target)
    return model.eval(), card


@torch.inference_mode()
def predict_plainly(path: Path, folder: Path, out: Path, proposals: str, resize: str) -> None:
    """The script that torchvision's users write."""
    from pycocotools import mask as coco_mask
    from torchvision.transforms.functional import to_tensor

    torch.set_num_threads(1)
    model, card = torchvision_model(path, proposals, resize)
    ids = {label: number for number, label in labels_of(card.categories).items()}
    results = []
    for number, file in enumerate(sorted(folder.iterdir()), 1):
        found = model([to_tensor(PilImage.open(file).convert("RGB"))])[0]
        bitmaps = (found["masks"][:, 0] > 0.5).numpy().astype(np.uint8)
        boxes = found["boxes"].tolist()
        for bitmap, (x1, y1, x2, y2), label, score in zip(
            bitmaps, boxes, found["labels"].tolist(), found["scores"].tolist(), strict=True
        ):
            rle = coco_mask.encode(np.asfortranarray(bitmap))
            results.append({
                "image_id": number, "category_id": ids[label], "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score,
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            })  # fmt: skip
    (out / "results.json").write_text(json.dumps(results))


def timed(*command: object) -> dict[str, float]:
    """Wall-clock and processor seconds of a command on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([str(each) for each in command], env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 2), "cpu": round(cpu, 2), "peak_mib": round(after.ru_maxrss / 1024)}


def average_precision(dataset: Dataset, results: list[Result]) -> float:
    scores = score_results(dataset, results, ("segm",)).segm
    assert scores is not None
    return float(scores.at_max_dets["AP"] if scores.at_max_dets else scores.AP)


def as_dataset(results: list[Result], folder: Path) -> Dataset:
    """Results as if they were annotations."""
    images = []
    for number, file in enumerate(sorted(folder.iterdir()), 1):
        with PilImage.open(file) as picture:
            images.append(Image(number, file.name, picture.height, picture.width))
    annotations = tuple(
        Annotation(number, each.image_id, each.category_id, each.segmentation, each.bbox or (0, 0, 0, 0), _area(each))
        for number, each in enumerate(results, 1)
    )
    return Dataset(tuple(images), annotations, CATEGORIES, folder)


def _area(result: Result) -> float:
    return rle_area(to_rle(result.segmentation, 0, 0)) if result.segmentation is not None else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--size", type=int, help="of the random model; by default the drawn pictures' shorter side")
    parser.add_argument("--max-size", type=int, help="likewise; by default their longer side")
    parser.add_argument("--proposals", choices=("same", "torchvision"), default="same")
    parser.add_argument("--resize", choices=("same", "torchvision"), default="same")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=0.005)
    parser.add_argument("--plain", nargs=3, type=Path, help=argparse.SUPPRESS)  # the script, in its own process
    options = parser.parse_args()
    if options.plain is not None:
        predict_plainly(*options.plain, options.proposals, options.resize)
        return
    work = Path(tempfile.mkdtemp(prefix="predict-speed-"))
    folder, model, dataset = work / "pictures", work / "model.pt", None
    if options.data is None:
        draw_pictures(folder, options.pictures, options.height, options.width)
    else:
        dataset = open_split(options.data, "val")
        folder.mkdir()
        for image in dataset.images[: options.pictures]:
            (folder / f"{image.id:09d}-{Path(image.file_name).name}").symlink_to(dataset.images_dir / image.file_name)
    if options.model is None:
        sides = sorted((options.height, options.width))
        random_model(model, options.size or sides[0], options.max_size or sides[1], min(folder.iterdir()))
    else:
        with_masks_of_torchvision(options.model, model)
    out, plain = work / "segkit", work / "torchvision"
    plain.mkdir()
    times: dict[str, list[dict[str, float]]] = {"segkit": [], "torchvision": []}
    ours = (sys.executable, "-m", "segkit", "predict", folder, "--model", model, "--out", out, "--force", "--score")
    ours += (SCORE, "--format", "coco", "--device", "cpu", "--workers", options.workers, "--quiet")
    theirs = (sys.executable, __file__, "--proposals", options.proposals, "--resize", options.resize)
    theirs += ("--plain", model, folder, plain)
    for _ in range(options.runs):  # in turns, so that other work on the machine meets both
        times["torchvision"].append(timed(*theirs))
        times["segkit"].append(timed(*ours))
    found = {"segkit": read_results(out / "results.json"), "torchvision": read_results(plain / "results.json")}
    if dataset is None:
        some = {name: [each for each in results if _area(each)] for name, results in found.items()}
        truth = as_dataset(some["torchvision"], folder)
        ap = {"segkit against torchvision": average_precision(truth, some["segkit"])}
        same = ap["segkit against torchvision"] >= 1 - options.tolerance
    else:
        renamed = [image.id for image in sorted(dataset.images[: options.pictures], key=lambda image: image.id)]
        part = Dataset(
            tuple(image for image in dataset.images if image.id in renamed),
            tuple(each for each in dataset.annotations if each.image_id in renamed),
            dataset.categories, dataset.images_dir,
        )  # fmt: skip
        ap = {}
        for name, results in found.items():
            own = [Result(renamed[r.image_id - 1], r.category_id, r.score, r.bbox, r.segmentation) for r in results]
            ap[name] = average_precision(part, own)
        same = abs(ap["segkit"] - ap["torchvision"]) <= options.tolerance
    line = {
        "pictures": len(list(folder.iterdir())), "instances": {name: len(each) for name, each in found.items()},
        "AP": {name: round(value, 4) for name, value in ap.items()}, **times,
        "share_cpu": round(min(t["cpu"] for t in times["segkit"]) / min(t["cpu"] for t in times["torchvision"]), 3),
        "share": round(min(t["wall"] for t in times["segkit"]) / min(t["wall"] for t in times["torchvision"]), 3),
    }  # fmt: skip
    print(json.dumps(line), flush=True)
    if not same:
        raise SystemExit("the results are not the same")


if __name__ == "__main__":
    main()
