"""For any content of a LabelMe file: no traceback, a valid COCO file, and a report that accounts for every shape."""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelme_files import png
from PIL import Image
from pycocotools import mask as coco_mask

from segkit.config.convert import ConvertConfig
from segkit.conversion.convert import convert
from segkit.errors import InputError

SIZE = (40, 60)
EXAMPLES = int(os.environ.get("SEGKIT_FUZZ", "300"))  # more of them: SEGKIT_FUZZ=5000 pytest tests/test_convert_fuzz.py

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from([10**400, -(10**25), 1e308, "\ud800", "a\nb", "\x00", "é"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
number = st.one_of(
    st.floats(-20, 80), st.integers(-20, 80), st.sampled_from([0, 0.5, 1e9, 1e-9, -1e300, math.inf, math.nan, 2**40])
)
points = st.one_of(
    st.lists(st.lists(st.floats(-10, 70), min_size=2, max_size=2), min_size=0, max_size=9),
    st.lists(st.lists(number, min_size=1, max_size=3), max_size=6),
    anything,
)
bitmap = st.sampled_from(
    [png(np.ones((5, 7))), png(np.zeros((3, 3))), png(np.eye(9)), "not base64", "", png(np.ones((2, 2)))[:-8]]
)
kinds = st.sampled_from(
    ["polygon", "rectangle", "circle", "line", "linestrip", "point", "points", "mask", "oriented_rectangle",
     "rotation", "quadrilateral", "cuboid", None, "spline"]
)  # fmt: skip
ODD_SHAPE = {
    "label": anything,
    "points": points,
    "shape_type": anything,
    "group_id": anything,
    "flags": st.dictionaries(st.text(max_size=4), st.booleans(), max_size=2) | anything,
    "mask": anything,
    "description": anything,
    "attributes": anything,
}
ODD_TOP = {
    "version": st.sampled_from(["3.4.0", "", "x.y"]) | anything,
    "flags": anything,
    "shapes": anything,
    "imagePath": st.sampled_from(["..\\in\\p.png", "/p.png", "x" * 5000, "p\x00.png", "p.json"]) | anything,
    "imageData": st.sampled_from(["", "aGk=", "data:image/png;base64," + png(np.ones(SIZE))]) | anything,
    "imageHeight": st.sampled_from([41, 0, -1, 2**40]) | anything,
    "imageWidth": st.sampled_from([61, 0, 1e9]) | anything,
    "split": anything,
}


@st.composite
def broken(draw, sound, odd):
    """A valid record; sometimes a few of its values are replaced by anything."""
    for name in draw(st.sets(st.sampled_from(sorted(odd)), max_size=2)) if draw(st.integers(0, 2)) == 0 else ():
        sound[name] = draw(odd[name])
    return sound


@st.composite
def shape(draw):
    kind = draw(kinds)
    exact = {"rectangle": 2, "circle": 2, "line": 2, "point": 1, "mask": 2, "oriented_rectangle": 4, "cuboid": 8}
    count = exact.get(kind) or draw(st.integers(3, 9))
    coordinate = st.floats(-10, 70) | st.integers(0, 60)
    sound = {
        "label": draw(st.sampled_from(["a", "b", "hole", "__ignore__", "_background_", "a ", "é"])),
        "points": draw(st.lists(st.lists(coordinate, min_size=2, max_size=2), min_size=count, max_size=count)),
        "shape_type": kind,
        "group_id": draw(st.sampled_from([None, None, 1, 2, 1.0, "g"])),
    }
    if kind == "mask":
        sound["mask"] = draw(bitmap)
    return draw(broken(sound, ODD_SHAPE))


@st.composite
def document(draw):
    sound = {
        "version": "5.5.0",
        "shapes": draw(st.lists(shape(), max_size=6)),
        "imagePath": "p.png",
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    return draw(broken(sound, ODD_TOP))


options = st.fixed_dictionaries(
    {},
    optional={
        "line_width": st.sampled_from([0.5, 3.0, 1000.0]),
        "point_radius": st.sampled_from([0.1, 4.0]),
        "hole_label": st.just("hole"),
        "raster": st.sampled_from(["coco", "labelme"]),
        "images": st.sampled_from(["none", "reference", "link"]),
        "ignore": st.just("crowd"),
        "map": st.just((("a", "c"), ("b", ""))),
    },
)


def check_coco(top, images_dir, placed):
    """Check what pycocotools and torchvision rely on."""
    categories = {category["id"] for category in top["categories"]}
    images = {image["id"]: image for image in top["images"]}
    assert [*images] == list(range(1, len(images) + 1))
    assert len({image["file_name"] for image in images.values()}) == len(images) or placed == "reference"
    assert [a["id"] for a in top["annotations"]] == list(range(1, len(top["annotations"]) + 1))
    for image in images.values():
        assert placed == "none" or (images_dir / image["file_name"]).is_file()  # some names are too long for files
    for annotation in top["annotations"]:
        image = images[annotation["image_id"]]
        assert annotation["category_id"] in categories
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            assert all(len(part) >= 6 and len(part) % 2 == 0 for part in segmentation)
            rles = coco_mask.frPyObjects(segmentation, image["height"], image["width"])
            segmentation = coco_mask.merge(rles)
        assert segmentation["size"] == [image["height"], image["width"]]
        assert annotation["area"] == coco_mask.area(segmentation) > 0
        assert annotation["bbox"] == coco_mask.toBbox(segmentation).tolist()
        assert annotation["iscrowd"] in (0, 1)


def check(texts, config):
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "in").mkdir()
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / "in/p.png")
        for index, text in enumerate(texts):
            (folder / f"in/{index}.json").write_bytes(text)
        try:
            summary = convert(ConvertConfig(src=str(folder / "in"), out=folder / "out", val=0.0, **config))
        except InputError:
            assert [path.name for path in folder.iterdir()] == ["in"]
            return
        report = json.loads((folder / "out/report.json").read_text(encoding="utf-8"))
        assert report["shapes"] == report["converted"] + report["lost"] + report["dropped"]
        lost = sum(row["shapes"] for row in report["findings"] if row["action"] == "left out")
        assert lost == report["lost"] == summary.left_out
        assert 0 <= summary.converted <= summary.shapes
        top = json.loads((folder / "out/train.json").read_text(encoding="utf-8"))
        check_coco(top, folder / "out/images", config.get("images", "link"))
        if "ignore" not in config:
            assert len(top["annotations"]) == report["instances"] <= report["converted"]
    finally:
        shutil.rmtree(folder)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(document(), min_size=1, max_size=3), options)
def test_any_labelme_document(documents, config):
    check([json.dumps(each).encode("utf-8") for each in documents], config)


@settings(max_examples=EXAMPLES // 3, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(document(), st.data())
def test_any_damaged_labelme_file(some, data):
    text = bytearray(json.dumps(some, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(len(text) - 1, 0)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check([bytes(text[: data.draw(st.integers(0, len(text)))]), bytes(text)], {})


FOREIGN = {
    "coco": {
        "images": [{"id": 1, "file_name": "p.png", "height": 40, "width": 60}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 2, "segmentation": {"size": [40, 60], "counts": "d0X10Xa0"}},
            {"id": 3, "image_id": 1, "category_id": 2, "segmentation": {"size": [40, 60], "counts": [100, 50, 2250]}},
        ],
    },
    "via": {
        "p.png9": {
            "filename": "p.png",
            "regions": [
                {
                    "shape_attributes": {"name": "polygon", "all_points_x": [5, 15, 9], "all_points_y": [5, 5, 15]},
                    "region_attributes": {"class": "a"},
                },
                {
                    "shape_attributes": {"name": "ellipse", "cx": 20, "cy": 20, "rx": 5, "ry": 6},
                    "region_attributes": {},
                },
            ],
        }
    },
}


def break_somewhere(top, data):
    """Replace one value, at any depth, by anything."""
    here = top
    while True:
        where = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if not isinstance(here[where], dict | list) or not here[where] or data.draw(st.integers(0, 3)) == 0:
            here[where] = data.draw(anything)
            return
        here = here[where]


@pytest.mark.parametrize("kind", FOREIGN)
@settings(max_examples=EXAMPLES // 3, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_document_of_other_formats(kind, data):
    top = json.loads(json.dumps(FOREIGN[kind]))
    for _ in range(data.draw(st.integers(0, 2))):
        break_somewhere(top, data)
    images = data.draw(st.sampled_from(["link", "none"]))
    check([json.dumps(top).encode()], {"source_format": kind, "images": images})
