"""The report page of an evaluation, and its tables."""

import base64
import io
import json
import re

import numpy as np
import pytest
from browser import render
from coco_pairs import random_pair
from PIL import Image as Picture


def hostile_pair(folder):
    """Names that could break a page: markup, mathematics, other alphabets; and image files."""
    truth, results = random_pair(np.random.default_rng(11), images=8, categories=4)
    names = ["<script>alert(1)</script>", '$x^2$ & "quotes"', "核 кле́тка", "a" * 60]
    for category, name in zip(truth["categories"], names, strict=True):
        category["name"] = name
    for image in truth["images"]:
        image["file_name"] = f"<b>{image['id']}</b>.png"
        Picture.new("RGB", (image["width"], image["height"]), (90, 120, 150)).save(
            folder / image["file_name"].replace("/", "_")
        )
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "r.json").write_text(json.dumps(results))


def test_the_html_report(segkit, here):
    hostile_pair(here)
    outcome = segkit("eval", "r.json", "--data", "t.json", "--report", "--bootstrap", "50", "--compare", "r.json")
    assert outcome.code == 0, outcome.err
    page = (here / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>1" not in page
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>" in page
    assert "<td>$x^2$ &amp; &#34;quotes&#34;</td>" in page
    assert not re.findall(r"""(?:src|href)=['"](?!data:|#)""", page), "nothing is fetched from anywhere"
    assert not re.findall(r"url\((?!#)", page)
    assert page.count("<svg") == 6
    pixels, console = render(here / "evaluation" / "report.html", here / "page.png")
    assert console == ""
    assert pixels.shape == (2400, 1200, 3)
    assert 0.005 < (pixels.std(axis=2) > 20).mean() < 0.7, "coloured plots on a light page"
    assert pixels.max() == 255


def test_pictures_of_narrow_and_high_images_are_shown(segkit, here):
    """Enlarged until their labels can be read, 8 pixels would become 100,000 rows: no JPEG, and gigabytes."""
    box, size = [1, 1, 6, 1900], {"height": 2000, "width": 8}
    truth = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 11400, "iscrowd": 0,
             "segmentation": [[1, 1, 7, 1, 7, 1901, 1, 1901]]}  # fmt: skip
    document = {"images": [{"id": 1, "file_name": "a.png", **size}], "categories": [{"id": 1, "name": "crack"}]}
    (here / "t.json").write_text(json.dumps(document | {"annotations": [truth]}))
    (here / "r.json").write_text(json.dumps([{key: truth[key] for key in list(truth)[1:4]} | {"score": 0.9}]))
    assert segkit("eval", "r.json", "--data", "t.json", "--report", "--bootstrap", "20", "--iou", "bbox").code == 0
    shown = re.findall(r"data:image/jpeg;base64,([^\"']*)", (here / "evaluation/report.html").read_text("utf-8"))
    sizes = [Picture.open(io.BytesIO(base64.b64decode(each))).size for each in shown]
    assert sizes == [(8, 2000)] * 2


def test_the_report_is_reproducible_byte_for_byte(segkit, here):
    hostile_pair(here)
    pages = []
    for out in ("one", "two"):
        assert segkit("eval", "r.json", "--data", "t.json", "--report", "--bootstrap", "20", "--out", out).code == 0
        pages.append((here / out / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_pictures_csv_is_worst_first(segkit, here):
    hostile_pair(here)
    segkit("eval", "r.json", "--data", "t.json", "--details", "--out", "out")
    lines = (here / "out" / "pictures.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("quality")
    assert len(lines) == 9
    quality = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert quality == sorted(quality)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--compare", "other.json"), "error: other.json: no such file"),
        (("--compare", "r.json", "--bootstrap", "0"), "error: --compare needs random samples"),
        (("--lvis",), "error: t.json: 8 images do not list neg_category_ids and not_exhaustive_category_ids"),
        (("--iou", "boundary", "--details"), "error: --iou boundary: the error analysis needs masks or boxes"),
        (("--lvis", "--engine", "pycocotools"), "error: --lvis: pycocotools has no federated AP"),
        (("--max-dets", "\u00b2"), "error: --max-dets \u00b2: auto, or a number from 100"),
        (("--report", "--images-dir", "nowhere"), "error: nowhere: no such folder"),
        (("--iou", "contour"), "error: --iou: contour: must be segm, bbox or boundary"),
    ],
)
def test_messages(segkit, here, options, message):
    hostile_pair(here)
    outcome = segkit("eval", "r.json", "--data", "t.json", *options)
    assert outcome.code in (1, 2)
    assert outcome.err.startswith(message)


def test_both_masks_and_boxes_are_compared(segkit, here):
    hostile_pair(here)
    results = json.loads((here / "r.json").read_text())
    (here / "boxes.json").write_text(json.dumps([{k: v for k, v in r.items() if k != "segmentation"} for r in results]))
    outcome = segkit("eval", "r.json", "--data", "t.json", "--compare", "r.json", "--bootstrap", "20", "--json")
    assert {"segm", "bbox"} <= json.loads(outcome.out)["compare"].keys()
    outcome = segkit("eval", "r.json", "--data", "t.json", "--compare", "boxes.json", "--bootstrap", "20", "--json")
    assert json.loads(outcome.out)["compare"]["bbox"]["value"] == 0
