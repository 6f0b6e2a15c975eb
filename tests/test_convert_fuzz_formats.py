"""For any content of the files of a YOLO, VOC, VIA, CVAT, Label Studio, ISAT or mask folder, or of a table of masks: no
traceback, and a report that accounts for every shape. More examples: SEGKIT_FUZZ=5000."""

import io
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segkit.config.convert import ConvertConfig
from segkit.conversion.convert import convert
from segkit.errors import ConfigError, InputError

EXAMPLES = int(os.environ.get("SEGKIT_FUZZ", "25"))
IDS = np.zeros((24, 32), np.uint8)
IDS[2:8, 3:13], IDS[10:20, 5:15], IDS[1:4, 20:30] = 1, 2, 255


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


PICTURE = encoded(Image.fromarray(np.full((24, 32, 3), 90, np.uint8)))
MASK = encoded(Image.fromarray(IDS))
LABELS = b"0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n1 0.5 0.5 0.25 0.25\n0 0.1 0.1 0.5 0.1 0.5 0.6 0.9\n"
XML = b"""<annotation><object><name>crack</name>
<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object><object><name>hole</name></object></annotation>"""
VIA = {
    "_via_img_metadata": {
        "a": {
            "filename": "a.png",
            "regions": [
                {
                    "shape_attributes": {"name": "polygon", "all_points_x": [5, 15, 9], "all_points_y": [5, 5, 15]},
                    "region_attributes": {"class": "a", "size": 3, "kind": {"wet": True}},
                },
                {
                    "shape_attributes": {"name": "ellipse", "cx": 20, "cy": 12, "rx": 5, "ry": 6, "theta": 0.3},
                    "region_attributes": {"class": 3},
                },
                {"shape_attributes": {"name": "circle", "cx": 20, "cy": 12, "r": 5}, "region_attributes": {}},
            ],
        }
    }
}
CVAT = b"""<annotations><meta><task><labels><label><name>a</name></label></labels></task></meta>
<image name="a.png" width="32" height="24"><polygon label="a" points="2,2;12,2;12,9" z_order="1" group_id="3"/>
<mask label="b" left="3" top="4" width="5" height="3" rle="1,4,2,3,5"/><ellipse label="a" cx="9" cy="9" rx="4" ry="3"/>
<box label="a" xtl="1" ytl="2" xbr="9" ybr="8" rotation="30"/><box label="a" xtl="1" ytl="2" xbr="9" ybr="8"/>
<polyline label="a" points="1,2;3,4"/></image></annotations>"""
STUDIO = [
    {
        "data": {"image": "/data/upload/0123abcd-a.png"},
        "annotations": [
            {
                "result": [
                    {"id": "1", "type": "polygonlabels", "original_width": 32, "original_height": 24,
                     "value": {"points": [[10, 10], [50, 10], [50, 60]], "polygonlabels": ["a"]}},
                    {"id": "2", "type": "rectanglelabels", "original_width": 32, "original_height": 24,
                     "value": {"x": 5, "y": 5, "width": 30, "height": 20, "rotation": 20, "rectanglelabels": ["b"]}},
                    {"id": "3", "type": "brushlabels", "original_width": 32, "original_height": 24,
                     "value": {"format": "rle", "rle": [0, 0, 12, 0, 57, 69, 172, 0], "brushlabels": ["b"]}},
                    {"id": "4", "type": "ellipselabels", "original_width": 32, "original_height": 24,
                     "value": {"x": 50, "y": 50, "radiusX": 9, "radiusY": 12, "ellipselabels": ["b"]}},
                ]
            }
        ],
    }
]  # fmt: skip
ISAT = {
    "info": {"name": "a.png", "width": 32, "height": 24},
    "objects": [{"category": "a", "group": 1, "segmentation": [[2, 2], [12, 2], [12, 9]], "iscrowd": 0}],
}
PAIR = {"images/a.png": PICTURE, "masks/a.png": MASK, "images/b.png": PICTURE, "masks/b.png": MASK}
FOLDERS = {
    "yolo": {
        "images/train/a.png": PICTURE, "images/val/b.png": PICTURE, "labels/train/a.txt": LABELS,
        "labels/val/b.txt": LABELS, "data.yaml": b"path: .\ntrain: images/train\nval: images/val\nnames: [a, b]\n",
    },
    "voc": {
        "JPEGImages/a.png": PICTURE, "SegmentationClass/a.png": MASK, "SegmentationObject/a.png": MASK,
        "Annotations/a.xml": XML, "JPEGImages/b.png": PICTURE, "SegmentationClass/b.png": MASK,
        "Annotations/c.xml": XML, "labelmap.txt": b"background:0,0,0::\na:128,0,0::\nb:0,128,0::\n",
        "ImageSets/Segmentation/train.txt": b"a\n",
    },
    "via": {"a.png": PICTURE, "v.json": json.dumps(VIA).encode()},
    "cvat": {"a.png": PICTURE, "c.xml": CVAT},
    "labelstudio": {"a.png": PICTURE, "s.json": json.dumps(STUDIO).encode()},
    "isat": {"a.png": PICTURE, "i.json": json.dumps(ISAT).encode()},
    "idmask": {**PAIR, "instances.csv": b"file,instance,category\nmasks/a.png,1,x\nmasks/a.png,2,y\n"},
    "semantic": {**PAIR, "classes.txt": b"0 _background_\n1 crack\n2 void\n255 __ignore__\n"},
    "csv": {**PAIR, "t.csv": b"picture,mask\nimages/a.png,masks/a.png\nimages/b.png,masks/b.png\n"},
}  # fmt: skip

WORDS = [
    b"", b"0", b"-1", b"1e400", b"nan", b"inf", b"99999999999999999999", b"0.5", b"1.0001", b"\xff", b"\xef\xbb\xbf",
    b"\n", b",", b";", b" ", b"null", b"[]", b"{}", b'"', b"<", b"&", b"../../x", b"/", b"\x00", b"\xc3\xa9", b"#",
    b"_background_", b"__ignore__", b"void", b"names: *a", b"255 x\n", b"true", b"1,2,3",
]  # fmt: skip
word = st.sampled_from(WORDS) | st.integers(-300, 70_000).map(lambda n: str(n).encode()) | st.binary(max_size=4)
VALUE = re.compile(rb"-?\d[\d.]*|\"[^\"]*\"|[A-Za-z_]+")


@st.composite
def other_mask(draw):
    """A mask of another type, size or content, or none."""
    height, width = draw(st.sampled_from([(24, 32), (24, 32), (12, 16), (32, 24), (1, 1)]))
    values = draw(st.sampled_from([[0, 1], [0, 255], [0, 1, 2, 255], [7], [0, 300], [0, 40, 90, 160, 255], range(256)]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    ids = rng.choice(np.array([*values]), (height, width)).astype(np.int32)
    mode = draw(st.sampled_from(["L", "1", "P", "RGB", "RGBA", "LA", "I", "I;16", "F"]))
    if mode == "F":
        image = Image.fromarray(ids.astype(np.float32) + draw(st.sampled_from([0.0, 0.5, np.nan, np.inf])))
    elif mode in ("I", "I;16"):
        image = Image.fromarray(ids if mode == "I" else ids.astype(np.uint16))
    else:
        image = Image.fromarray((ids % 256).astype(np.uint8)).convert(mode)
    return encoded(image, "TIFF" if mode in ("F", "I") else "PNG")


@st.composite
def mutated(draw, files):
    """A folder with a few files changed, removed, renamed or exchanged."""
    files = dict(files)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(files)))
        kind = draw(
            st.sampled_from(["value", "value", "value", "bytes", "cut", "mask", "remove", "rename", "exchange"])
        )
        text = files[name]
        if kind == "value" and (found := [*VALUE.finditer(text)]):
            place = draw(st.sampled_from(found[:200]))
            files[name] = text[: place.start()] + draw(word) + text[place.end() :]
        elif kind == "bytes":
            at = draw(st.integers(0, max(len(text) - 1, 0)))
            files[name] = text[:at] + draw(word) + text[at + draw(st.integers(0, 3)) :]
        elif kind == "cut":
            files[name] = text[: draw(st.integers(0, len(text)))]
        elif kind == "mask" and name.endswith(".png"):
            files[name] = draw(other_mask())
        elif kind == "remove" and len(files) > 1:
            del files[name]
        elif kind == "rename":
            ending = draw(st.sampled_from([".txt", ".PNG", ".jpg", ".json", ".gif", "_mask.png", ""]))
            files[str(Path(name).with_suffix("")) + ending] = files.pop(name)
        elif kind == "exchange":
            other = draw(st.sampled_from(sorted(files)))
            files[name], files[other] = files[other], files[name]
    return files


def check(files, **options):
    folder = Path(tempfile.mkdtemp())
    try:
        for name, content in files.items():
            (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "in" / name).write_bytes(content)
        try:
            convert(ConvertConfig(src=str(folder / "in"), out=folder / "out", val=0.0, workers=0, **options))
        except (InputError, ConfigError):
            assert [path.name for path in folder.iterdir()] == ["in"]
            return
        report = json.loads((folder / "out/report.json").read_text(encoding="utf-8"))
        assert report["shapes"] == report["converted"] + report["lost"] + report["dropped"]
        assert report["lost"] == sum(row["shapes"] for row in report["findings"] if row["action"] == "left out")
        assert 0 <= report["instances"] <= report["converted"] <= report["shapes"]
        assert all(row["why"] and row["file"] for row in report["findings"])
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_examples_are_read(kind):
    check(FOLDERS[kind], source_format=kind)
    check(FOLDERS[kind])


@pytest.mark.parametrize("kind", FOLDERS)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_folder_of_other_formats(kind, data):
    files = data.draw(mutated(FOLDERS[kind]))
    target = data.draw(st.sampled_from(["coco", "coco", "labelme", "semantic", "yolo"]))
    check(files, source_format=data.draw(st.sampled_from([kind, "auto"])), target_format=target)
