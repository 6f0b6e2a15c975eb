"""What training is fed: masks on their pixels, and nothing outside the image."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image as PilImage

from segkit.data.geometry import Framing
from segkit.data.masks import polygons_to_rle
from segkit.data.records import Annotation, Category, Dataset, Image
from segkit.formats.dataset_folder import open_split
from segkit.loading.augment import STRENGTHS
from segkit.loading.dataset import Pictures
from segkit.loading.sampler import Key


def test_targets_score_what_area_averaged_masks_score(dataset):
    """At every level of augmentation; label maps agree likewise. A mask head that learnt them would lose little."""
    script = ROOT / "benchmarks" / "targets_score.py"
    options = ("--sizes", "64", "--levels", "none,medium,heavy", "--images", "5")
    done = subprocess.run([sys.executable, script, dataset, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 3
    for row in rows:
        assert row["targets"] == pytest.approx(row["averaged"], abs=0.01), row
        assert row["labels"] > 0.99, row


@pytest.fixture(params=["polygons", "rle"])
def white_images(request, tmp_path, dataset):
    """White images, each wholly covered by one instance that reaches beyond it."""
    train = open_split(dataset, "train")
    annotations = []
    for number, image in enumerate(train.images, 1):
        PilImage.new("RGB", (image.width, image.height), "white").save(tmp_path / f"{number}.png")
        right, bottom = image.width + 20.0, image.height + 20.0
        whole = [[-20.0, -20.0, right, -20.0, right, bottom, -20.0, bottom]]
        region = whole if request.param == "polygons" else polygons_to_rle(whole, image.height, image.width)
        first = next(iter(train.annotations))
        annotations.append(replace(first, id=number, image_id=image.id, segmentation=region, iscrowd=0))
    images = tuple(replace(image, file_name=f"{n}.png") for n, image in enumerate(train.images, 1))
    return replace(train, images=images, annotations=tuple(annotations), images_dir=tmp_path)


@pytest.mark.parametrize("augment", ["light", "medium", "heavy"])
def test_nothing_is_taught_outside_the_image(white_images, augment, monkeypatch):
    """No mask, box or label lies on the black corners of turned images, or on padding; what is there is ignored."""
    only_moved = replace(STRENGTHS[augment], light=0.0, colour=0.0, erase=0.0, paste=0.0)
    monkeypatch.setitem(STRENGTHS, augment, only_moved)
    framing = {"instances": Framing("instances", 64, 96), "semantic": Framing("semantic", 96, 160)}
    pictures = {
        kind: Pictures(white_images, each, seed=3, augment=augment, accept_boxes=False)
        for kind, each in framing.items()
    }
    for key in (Key(epoch, image) for epoch in range(4) for image in range(len(white_images.images))):
        sample = pictures["instances"][key]
        black = (sample.image == 0).all(0).numpy()
        mask = np.zeros(black.shape, np.uint8)
        ((x1, y1, x2, y2),) = sample.target["boxes"].long().tolist()
        mask[y1:y2, x1:x2] = sample.target["box_masks"].view(y2 - y1, x2 - x1)
        assert not mask[black].any()
        assert mask.sum() > 0.95 * (~black).sum()
        sample = pictures["semantic"][key]
        black = (sample.image == 0).all(0).numpy()
        labels = sample.target["semantic"].numpy()
        assert (labels[black] == 255).all()
        assert set(np.unique(labels)) <= {1, 255}
        assert (labels == 1).sum() > 0.95 * (~black).sum()


def test_a_model_of_boxes_learns_the_annotated_box(tmp_path):
    """Where it says something else than the segmentation, as the box of a partly hidden object does."""
    PilImage.new("RGB", (100, 80)).save(tmp_path / "1.png")
    seen = [[20.0, 10.0, 40.0, 10.0, 40.0, 30.0, 20.0, 30.0]]
    rle = polygons_to_rle(seen, 80, 100)
    boxes = [(20.0, 10.0, 20.0, 60.0), (20.4, 9.6, 19.8, 20.1), (10.0, 10.0, 30.0, 20.0), (15.0, 5.0, 30.0, 30.0)]
    regions = [seen, seen, rle, None]
    annotations = tuple(
        Annotation(number, 1, 1, region, box, 400.0)
        for number, (region, box) in enumerate(zip(regions, boxes, strict=True), 1)
    )
    dataset = Dataset((Image(1, "1.png", 80, 100),), annotations, (Category(1, "a"),), tmp_path)
    framing = Framing("instances", 80, 100)
    sample = Pictures(dataset, framing, seed=0, augment="none", accept_boxes=True)[Key(0, 0)]
    expected = [[20, 10, 40, 70], [20, 10, 40, 30], [10, 10, 40, 30], [15, 5, 45, 35]]
    assert sample.target["boxes"].tolist() == expected
    masks = replace(dataset, annotations=annotations[:3])
    sample = Pictures(masks, framing, seed=0, augment="none", accept_boxes=False)[Key(0, 0)]
    assert sample.target["boxes"].tolist() == [[20, 10, 40, 30]] * 3
