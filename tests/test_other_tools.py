"""Files of CVAT, Label Studio and ISAT, folders with a mask for each instance, Cellpose's masks, tables of masks."""

import json
from collections import Counter

import numpy as np
import pytest
from mask_folders import areas, mask, picture, whys
from PIL import Image

from segkit.formats.label_studio.brush import decode_brush


def convert(segkit, *more, code=0):
    outcome = segkit("convert", "in", "--val", 0, *more)
    assert outcome.code == code, outcome.err
    return outcome


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><labels><label><name>hole</name></label><label><name>crack</name></label></labels></task></meta>
<image id="0" name="sub/a.png" width="64" height="48" subset="Train">
 <polygon label="crack" occluded="1" points="5.0,5.0;25,5;25,15;5,15"><attribute name="n">7</attribute></polygon>
 <mask label="hole" occluded="0" left="30" top="5" width="4" height="3" rle="1, 2, 1, 1, 2, 1, 4" z_order="0"></mask>
 <ellipse label="hole" cx="45" cy="35" rx="10" ry="5" z_order="0"/>
 <box label="crack" xtl="1" ytl="30" xbr="11" ybr="40"/>
 <polygon label="crack" group_id="2" points="40,5;50,5;50,15;40,15"/>
 <polygon label="crack" group_id="2" points="52,5;62,5;62,15;52,15"/>
 <polyline label="crack" points="1,1;20,1"/>
 <points label="crack" points="1,1;20,1"/>
 <mask label="hole" left="30" top="5" width="4" height="3" rle="1, 2"/>
 <polygon label="crack" points="a,b"/>
 <skeleton label="crack"/>
 <tag label="wet"/>
</image>
<image id="1" name="b.png" width="64" height="48"/>
</annotations>
"""


@pytest.mark.parametrize("source", ["in", "in/annotations.xml"])
def test_cvat_for_images(segkit, here, source):
    picture(here / "in/images/sub/a.png")
    picture(here / "in/b.png")
    (here / "in/annotations.xml").write_text(CVAT)
    outcome = segkit("convert", source, "--val", 0, "--strict", "--line-width", 2)
    assert outcome.code == 3, outcome.err
    found = areas(here / "dataset")
    assert [*found] == ["hole", "crack"]
    assert sorted(found["crack"]) == [38, 100, 200, 200]
    assert found["hole"][0] == 4
    assert found["hole"][1] == pytest.approx(157, abs=6)
    report = json.loads((here / "dataset/report.json").read_text())
    assert (report["format"], report["shapes"], report["lost"], report["images"]) == ("cvat", 11, 4, 2)
    first = json.loads((here / "dataset/train.json").read_text())["annotations"][0]
    assert first["attributes"] == {"attributes": {"n": "7", "occluded": True}}


def test_a_cvat_mask_is_where_cvat_draws_it(segkit, here):
    picture(here / "in/a.png")
    one = '<mask label="x" left="30" top="5" width="4" height="3" rle="1, 2, 1, 1, 2, 1, 4"/>'
    (here / "in/x.xml").write_text(
        f'<annotations><image name="a.png" width="64" height="48">{one}</image></annotations>'
    )
    convert(segkit, "--to", "idmask")
    (path,) = (here / "dataset").rglob("masks/**/*.png")
    ys, xs = np.nonzero(np.asarray(Image.open(path)))
    assert {*zip(ys.tolist(), xs.tolist(), strict=True)} == {(5, 31), (5, 32), (6, 30), (6, 33)}


def test_what_cvat_draws_later_covers_a_mask(segkit, here):
    picture(here / "in/a.png")
    mask = '<mask label="low" left="10" top="5" width="8" height="4" rle="0, 32" z_order="0"/>'
    polygon = '<polygon label="high" points="10,5;18,5;18,9;10,9" z_order="1"/>'
    other = '<mask label="top" left="10" top="5" width="2" height="4" rle="0, 8" z_order="2"/>'
    top = f'<annotations><image name="a.png" width="64" height="48">{other}{polygon}{mask}</image></annotations>'
    (here / "in/x.xml").write_text(top)
    convert(segkit, "--to", "semantic")
    names = dict(line.split()[:2] for line in (here / "dataset/classes.txt").read_text().splitlines())
    (path,) = (here / "dataset").rglob("*annot/**/*.png")
    counts = Counter(names[str(value)] for value in np.asarray(Image.open(path)).ravel().tolist() if value)
    assert counts == {"high": 24, "top": 8}


def test_a_shape_that_cvat_may_have_some_day_is_left_out_with_a_row(segkit, here):
    picture(here / "in/a.png")
    top = '<annotations><image name="a.png" width="64" height="48">' + (
        '<spline label="x" points="1,1;20,1;20,20"/><polygon label="x" points="1,1;20,1;20,20"/></image></annotations>'
    )
    (here / "in/x.xml").write_text(top)
    convert(segkit, "--strict", code=3)
    assert whys(here / "dataset") == {("left out", "a spline is no region"): 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><track id='0' label='a'><box/></track></annotations>", "CVAT for images 1.1"),
        ("<annotations><version>1.1</version></annotations>", "not a file of CVAT for images"),
        ("<annotations><image", "not a valid XML file"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "declares entities"),
    ],
)
def test_other_files_of_cvat_have_a_message(segkit, here, text, message):
    (here / "in").mkdir()
    (here / "in/a.xml").write_text(text)
    assert message in convert(segkit, code=1).err


def pack(mask, sizes=(3, 5, 9, 15)):
    """A brush as Label Studio's editor packs it: runs of equal values and stretches of others."""
    values = np.repeat(np.asarray(mask, np.uint8).ravel()[:, None] * 255, 4, axis=1).ravel().tolist()
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    at = 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at] and end - at < 1 << 15:
            end += 1
        is_run = end - at > 1
        if not is_run:
            end = min(at + 2, len(values))
        choice = next(n for n, size in enumerate(sizes) if end - at - 1 < 1 << size)
        bits += f"{int(is_run)}{choice:02b}" + format(end - at - 1, f"0{sizes[choice]}b")
        bits += "".join(f"{value:08b}" for value in (values[at : at + 1] if is_run else values[at:end]))
        at = end
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def test_brushes_are_unpacked():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (48, 64)):
        mask = rng.integers(0, 2, shape)
        assert (decode_brush(pack(mask), *shape) == mask).all()


@pytest.mark.parametrize("rle", [[], [1, 2, 3], [300], ["a"], pack(np.ones((48, 64)))[:-1], pack(np.ones((4, 4)))])
def test_broken_brushes_are_refused(rle):
    with pytest.raises(ValueError, match="brush mask"):
        decode_brush(rle, 48, 64)


def result(kind, label="crack", **value):
    return {
        "id": f"{kind}{label}{len(str(value))}", "type": f"{kind}labels", "original_width": 64, "original_height": 48,
        "value": {f"{kind}labels": [label] if label else [], **value},
    }  # fmt: skip


def brush():
    drawn = np.zeros((48, 64))
    drawn[20:30, 40:50] = 1
    return pack(drawn)


RESULTS = [
    result("polygon", points=[[25, 25], [75, 25], [75, 75], [25, 75]]),
    result("rectangle", x=0, y=0, width=25, height=25, rotation=0),
    result("rectangle", "hole", x=50, y=50, width=25, height=25, rotation=30),
    result("ellipse", "hole", x=50, y=50, radiusX=12.5, radiusY=12.5),
    result("brush", "hole", format="rle", rle=brush()),
    result("keypoint", x=1, y=1, width=1),
    result("polygon", "", points=[[25, 25], [75, 25], [75, 75]]),
    result("polygon", points=[[25, 25], ["a", 25], [75, 75]]),
    {"type": "choices", "value": {"choices": ["wet"]}},
]
NAME = "/data/upload/1/0123abcd-a%20b.png"


@pytest.mark.parametrize("export", ["JSON", "JSON-MIN"])
def test_label_studio(segkit, here, export):
    picture(here / "in/images/a b.png")
    task = {"data": {"image": NAME}, "annotations": [{"result": RESULTS}, {"result": RESULTS[:2]}]}
    flat = [each["value"] | {"original_width": 64, "original_height": 48} for each in RESULTS[:-1]]
    top = [task] if export == "JSON" else [{"image": NAME, "id": 1, "label": flat}]
    (here / "in/project.json").write_text(json.dumps(top))
    convert(segkit, "--strict", code=3)
    found = areas(here / "dataset")
    assert sorted(found["crack"]) == [192, 768]
    assert sorted(found["hole"]) == [pytest.approx(100), pytest.approx(151, abs=8), pytest.approx(192, abs=8)]
    report = json.loads((here / "dataset/report.json").read_text())
    extra = 2 if export == "JSON" else 0
    assert (report["format"], report["shapes"], report["lost"]) == ("labelstudio", 8 + extra, 3 + extra)


def test_regions_of_label_studio_with_one_id_are_all_kept(segkit, here):
    picture(here / "in/a.png")
    outlines = [{"points": [[left, 10], [left + 20, 10], [left + 20, 60]], "closed": True} for left in (5, 30, 55)]
    results = [
        {"id": "same", "type": "polygonlabels", "value": outline | {"polygonlabels": [label]}}
        for outline, label in zip(outlines, ("crack", "hole", "crack"), strict=True)
    ]
    more = {"id": "same", "type": "choices", "value": outlines[1] | {"choices": ["deep"]}}
    top = [{"data": {"image": "a.png"}, "annotations": [{"result": [*results, more, more]}]}]
    (here / "in/project.json").write_text(json.dumps(top))
    convert(segkit, "--strict")
    assert {name: len(found) for name, found in areas(here / "dataset").items()} == {"crack": 2, "hole": 1}


def test_instances_of_label_studio_are_in_the_order_in_which_they_were_drawn(segkit, here):
    box = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["box"]}
    outline = {"points": [[5, 10], [25, 10], [25, 60]], "closed": True, "polygonlabels": ["outline"]}
    results = [
        {"id": "1", "type": "polygonlabels", "value": outline},
        {"id": "2", "type": "rectanglelabels", "value": box},
    ]
    for number, some in enumerate((results, results[::-1])):
        (here / f"in{number}").mkdir()
        picture(here / f"in{number}/a.png")
        (here / f"in{number}/project.json").write_text(
            json.dumps([{"data": {"image": "a.png"}, "annotations": [{"result": some}]}])
        )
        assert segkit("convert", f"in{number}", "--val", 0, "--out", f"out{number}").code == 0
        top = json.loads((here / f"out{number}/train.json").read_text())
        names = {each["id"]: each["name"] for each in top["categories"]}
        drawn = [names[each["category_id"]] for each in top["annotations"]]
        assert drawn == (["outline", "box"] if number == 0 else ["box", "outline"])


def test_isat(segkit, here):
    picture(here / "in/a.png")
    square = [[5, 5], [25, 5], [25, 25], [5, 25]]
    inner = [[10, 10], [20, 10], [20, 20], [10, 20]]
    objects = [
        {"category": "leaf", "group": 1, "segmentation": square, "iscrowd": 0, "note": "wet"},
        {"category": "__background__", "group": 1, "segmentation": inner, "iscrowd": 0},
        {"category": "leaf", "group": 2, "segmentation": inner, "iscrowd": 1},
        {"category": "leaf", "group": 3, "segmentation": [[1, 1]]},
        "nonsense",
    ]
    info = {"description": "ISAT", "folder": "", "name": "a.png", "width": 64, "height": 48}
    (here / "in/a.json").write_text(json.dumps({"info": info, "objects": objects}))
    convert(segkit, "--strict", code=3)
    assert areas(here / "dataset") == {"leaf": [300, 100]}
    report = json.loads((here / "dataset/report.json").read_text())
    assert (report["format"], report["shapes"], report["lost"]) == ("isat", 5, 2)
    assert json.loads((here / "dataset/train.json").read_text())["annotations"][1]["iscrowd"] == 1


@pytest.mark.parametrize(
    ("layers", "areas"), [((2.0, 1.0), (400, 500)), ((1.0, 2.0), (300, 600)), ((None, "x"), (300, 600))]
)
def test_a_higher_layer_of_isat_covers_a_lower_one(segkit, here, layers, areas):
    picture(here / "in/a.png")
    outlines = (
        [[5, 5], [25, 5], [25, 25], [5, 25]],
        [[20, 5], [50, 5], [50, 25], [20, 25]],
    )  # they share 5 x 20 pixels
    objects = [
        {"category": name, "segmentation": outline, "layer": layer}
        for name, outline, layer in zip(("low", "high"), outlines, layers, strict=True)
    ]
    info = {"description": "ISAT", "folder": "", "name": "a.png", "width": 64, "height": 48}
    (here / "in/a.json").write_text(json.dumps({"info": info, "objects": objects}))
    convert(segkit, "--to", "idmask")
    (path,) = (here / "dataset").rglob("masks/**/*.png")
    found = np.unique(np.asarray(Image.open(path)), return_counts=True)[1].tolist()[1:]
    assert sorted(found) == sorted(areas)


def test_a_mask_file_for_each_instance(segkit, here):
    for name in ("one", "two"):
        picture(here / f"in/{name}/images/{name}.png")
        mask(here / f"in/{name}/masks/0af.png", (255, 20))
        mask(here / f"in/{name}/masks/1bc.png", (0, 1), (255, 21))
        mask(here / f"in/{name}/masks/2.png")
    (here / "in/two/masks/2.png").write_bytes(b"broken")
    convert(segkit, "--map", "object=nucleus", "--strict", code=3)
    assert areas(here / "dataset") == {"nucleus": [200, 210, 200, 210]}
    assert [action for action, _ in whys(here / "dataset")] == ["left out"]


def test_masks_of_cellpose_beside_pictures(segkit, here):
    picture(here / "in/a.png")
    mask(here / "in/a_cp_masks.png", (1, 20), (2, 21))
    (here / "in/a_seg.npy").write_bytes(b"a pickle, which is not opened")
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"object": [200, 210]}


@pytest.mark.parametrize("heading", ["picture,mask", "image;label;split", ""])
def test_a_table_of_pictures_and_masks(segkit, here, heading):
    for number in (1, 2):
        picture(here / f"in/raw/p{number}.png")
        mask(here / f"in/other/m{number}.png", *[(n + 1, 20) for n in range(number)])
    comma = ";" if ";" in heading else ","
    rows = [heading, f"raw/p1.png{comma}other/m1.png", f"{here}/in/raw/p2.png{comma}other\\m2.png"]
    rows += [f"raw/p3.png{comma}other/m1.png", f"raw/p1.png{comma}"]
    (here / "in/table.csv").write_text("\n".join(filter(None, rows)), encoding="utf-8-sig")
    outcome = segkit("convert", "in/table.csv", "--val", 0, "--strict")
    assert outcome.code == 3, outcome.err
    assert areas(here / "dataset") == {"object": [200, 200, 200]}
    lost = {(action, why) for action, why in whys(here / "dataset") if action == "left out"}
    assert lost == {("left out", "a mask without a picture"), ("left out", "no mask in the row")}
    convert(segkit, "--from", "csv", "--masks", "semantic", "--force")
    assert areas(here / "dataset") == {"class_0": [2872, 2672], "class_1": [200, 200], "class_2": [200]}


def test_what_is_no_table_of_masks_is_told(segkit, here):
    picture(here / "in/p.png")
    (here / "in/a.csv").write_text("filename,file_size,region_shape_attributes\np.png,3,{}\n")
    outcome = segkit("convert", "in/a.csv")
    assert (outcome.code, "not a table of pictures and masks" in outcome.err) == (1, True)
    (here / "in/a.csv").write_text("picture,mask\np.png,nothing.png\n")
    outcome = segkit("convert", "in/a.csv")
    assert (outcome.code, "none of its 1 rows names a picture and a mask" in outcome.err) == (1, True)


@pytest.mark.parametrize(("height", "width"), [(48_000_000, 64_000_000), (48_000, 64_000)])
def test_masks_of_pictures_that_claim_to_be_huge_take_no_memory(segkit, here, height, width):
    """The small file would make gigabytes."""
    picture(here / "in/a.png")
    huge = (
        f'<mask label="x" left="0" top="0" width="{width // 2}" height="{height // 2}" rle="0, {height * width // 4}"/>'
    )
    small = '<polygon label="x" points="5,5;15,5;15,15"/>'
    image = f'<image name="a.png" width="{width}" height="{height}">{huge}{small}</image>'
    (here / "in/x.xml").write_text(f"<annotations>{image}</annotations>")
    outcome = segkit("convert", "in", "--val", 0, "--json")
    assert outcome.code in (0, 1)
    assert "Traceback" not in outcome.err
    if outcome.code == 0:
        assert json.loads(outcome.out)["lost"] >= 1


def test_predictions_of_label_studio_are_no_annotations(segkit, here):
    for name in ("a", "b"):
        picture(here / f"in/{name}.png")
    tasks = [
        {"data": {"image": "a.png"}, "annotations": [], "predictions": [{"result": RESULTS}]},
        {"data": {"image": "b.png"}, "annotations": [{"result": RESULTS[:1]}], "predictions": [{"result": RESULTS}]},
    ]
    (here / "in/project.json").write_text(json.dumps(tasks))
    convert(segkit, "--strict")
    assert areas(here / "dataset") == {"crack": [768]}
    assert whys(here / "dataset") == {("noted", "predictions are no annotations: an image without instances"): 1}
