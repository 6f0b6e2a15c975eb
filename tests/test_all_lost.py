"""When not one shape of a dataset is left, convert ends with exit code 1 and writes nothing, whatever the format."""

import pytest
from coco_files import annotation, box, document, draw, write
from labelme_files import shape
from labelme_files import write as write_labelme


def coco(folder):
    draw(folder)
    write(folder / "t.json", document([annotation(n, 7) for n in range(3)]))
    return "image_id"


def labelme(folder):
    write_labelme(folder / "a.json", [shape("p", [[5, 5]], "point"), shape("p", [[9, 5]], "point")])
    return "a point has no area"


def yolo(folder):
    draw(folder, 2)
    for name in ("p1", "p2"):
        (folder / f"{name}.txt").write_text("0 0.1 0.1 0.1 0.1 0.1 0.1\n")
    return "covers no pixel"


@pytest.mark.parametrize("make", [coco, labelme, yolo])
@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_dataset_without_a_single_shape_left_is_an_error(segkit, here, make, options):
    why = make(here / "in")
    outcome = segkit("convert", "in", *options)
    assert outcome.code == 1
    first = outcome.err.splitlines()[0]
    assert first.startswith("error: in: nothing would be left: all of its")
    assert why in first
    assert [path.name for path in here.iterdir()] == ["in"]


def test_boxes_alone_are_no_dataset_of_masks(segkit, here):
    draw(here / "in")
    write(here / "in/t.json", document([box(1, 1), box(2, 2)]))
    outcome = segkit("convert", "in", "--to", "idmask")
    assert outcome.code == 1
    assert "a box without a mask" in outcome.err
    assert [path.name for path in here.iterdir()] == ["in"]


def test_labels_that_the_user_drops_are_no_loss(segkit, here):
    draw(here / "in")
    write(here / "in/t.json", document([annotation(1)]))
    assert segkit("convert", "in", "--map", "nut=").code == 0
