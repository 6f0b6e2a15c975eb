"""Random annotations with results that pycocotools can score: crowds, ties, several parts, polygons and RLE."""

import numpy as np
from pycocotools import mask as coco_mask


def random_pair(rng, *, images=None, categories=None, sparse_ids=False):
    """A COCO document and a list of results, as in files."""
    images = int(rng.integers(1, 7)) if images is None else images
    categories = int(rng.integers(1, 5)) if categories is None else categories
    ids = rng.permutation(np.arange(1, 10 * images))[:images].tolist() if sparse_ids else list(range(1, images + 1))
    truth = {
        "images": [
            {
                "id": i,
                "file_name": f"{i}.png",
                "height": int(rng.integers(20, 150)),
                "width": int(rng.integers(20, 150)),
            }
            for i in ids
        ],
        "annotations": [],
        "categories": [{"id": k, "name": f"c{k}"} for k in range(1, categories + 1)],
    }
    results = []
    for image in truth["images"]:
        here = []
        for _ in range(int(rng.integers(0, 9))):
            segmentation, rle = _segmentation(rng, image, crowd := bool(rng.random() < 0.15))
            annotation = {
                "id": len(truth["annotations"]) + 1,
                "image_id": image["id"],
                "category_id": int(rng.integers(1, categories + 1)),
                "segmentation": segmentation,
                "bbox": coco_mask.toBbox(rle).tolist(),
                "area": float(coco_mask.area(rle)) * (1 if rng.random() < 0.8 else float(rng.uniform(0.1, 30))),
                "iscrowd": int(crowd),
            }
            truth["annotations"].append(annotation)
            here.append((annotation, rle))
        for annotation, rle in here:
            results += [
                _result(rng, image, annotation["category_id"], _moved(rng, rle), categories)
                for _ in range(int(rng.integers(0, 3)))
            ]
        for _ in range(int(rng.integers(0, 5))):
            _, rle = _segmentation(rng, image, crowd=False)
            results.append(_result(rng, image, int(rng.integers(1, categories + 1)), rle, categories))
    order = rng.permutation(len(results))
    return truth, [results[i] for i in order]


def _segmentation(rng, image, crowd):
    """One of COCO's three forms, and its RLE; parts may be tiny, outside or of no area."""
    height, width = image["height"], image["width"]
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        n = int(rng.integers(3, 9))
        center, radius = rng.uniform(-5, [width + 5, height + 5]), rng.uniform(0.3, 40)
        parts.append((center + rng.normal(0, radius, (n, 2))).round(int(rng.integers(0, 4))).reshape(-1).tolist())
    rle = coco_mask.merge(coco_mask.frPyObjects(parts, height, width))
    if not crowd and rng.random() < 0.6:
        return parts, rle
    if crowd or rng.random() < 0.5:
        return {"size": [height, width], "counts": _runs(coco_mask.decode(rle))}, rle
    return {"size": [height, width], "counts": rle["counts"].decode()}, rle


def _runs(mask):
    flat = mask.reshape(-1, order="F")
    borders = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]]).astype(np.int8)))
    runs = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return runs if sum(runs) == flat.size else [*runs, 0]


def _moved(rng, rle):
    mask = np.roll(coco_mask.decode(rle), rng.integers(-3, 4, 2), axis=(0, 1))
    return coco_mask.encode(np.asfortranarray(mask))


def _result(rng, image, category, rle, categories):
    if rng.random() < 0.15:
        category = int(rng.integers(1, categories + 1))
    return {
        "image_id": image["id"],
        "category_id": category,
        "score": round(float(rng.random()), int(rng.integers(1, 4))),  # one decimal: many ties
        "segmentation": {"size": [image["height"], image["width"]], "counts": rle["counts"].decode()},
        "bbox": coco_mask.toBbox(rle).tolist(),
    }
