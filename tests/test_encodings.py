"""Texts that are not UTF-8: the code page is guessed from all of a dataset, or named by hand, and doubt is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from labelme_files import square, write
from PIL import Image
from test_picture_looks import coco, converted, picture

LABELS = {
    "cp949": ["균열", "박리", "누수", "철근노출"],
    "gb18030": ["裂缝", "剥落", "渗水", "钢筋外露"],
    "cp932": ["ひび割れ", "剥離", "漏水", "鉄筋露出"],
    "euc_jp": ["ひび割れ", "剥離", "漏水", "鉄筋露出"],
    "big5": ["裂縫", "剝落", "滲水", "鋼筋外露"],
    "cp1252": ["Größe", "Riß", "fissuré", "béton"],
    "cp1251": ["трещина", "скол", "коррозия", "Клетка"],
    "cp1250": ["pęknięcie", "łuszczenie", "trhlina v omítce", "řez"],
    "koi8-r": ["трещина", "скол", "коррозия", "Клетка"],
    "cp1253": ["ρωγμή", "διάβρωση", "δέντρο", "Κύτταρο"],
    "cp1254": ["çatlak", "şişe", "aşınma", "ışık"],  # noqa: RUF001
    "cp1255": ["סדק", "קורוזיה", "מכונית", "רקע", "חלון", "כביש"],
    "cp1256": ["شق", "تآكل", "شجرة", "سيارة"],
}


def labelme(folder: Path, labels: list[str], encoding: str) -> Path:
    """A file for each label, in an encoding."""
    for number, label in enumerate(labels):
        path = write(folder / f"{number}.json", [square(10, 10, 20, label)])
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    return folder


def names(dataset: dict) -> set[str]:
    return {category["name"] for category in dataset["categories"]}


@pytest.mark.parametrize("encoding", LABELS)
def test_the_labels_of_a_dataset_tell_its_code_page(segkit, here, encoding):
    labelme(here / "in", LABELS[encoding], encoding)
    dataset, report = converted(segkit, here / "in")
    assert names(dataset) == set(LABELS[encoding])
    assert {row["action"] for row in report["findings"]} == {"repaired"}
    assert all("not UTF-8" in row["why"] for row in report["findings"])


@pytest.mark.parametrize("encoding", LABELS)
def test_a_single_short_label_is_read_right_or_in_doubt(segkit, here, encoding):
    label = LABELS[encoding][1]
    labelme(here / "in", [label], encoding)
    dataset, report = converted(segkit, here / "in")
    assert names(dataset) == {label} or any("may be" in row["why"] for row in report["findings"])


@pytest.mark.parametrize("encoding", LABELS)
def test_an_encoding_that_is_named_is_used(segkit, here, encoding):
    labelme(here / "in", LABELS[encoding][1:2], encoding)
    dataset, _ = converted(segkit, here / "in", "--encoding", encoding)
    assert names(dataset) == set(LABELS[encoding][1:2])


def test_an_encoding_that_does_not_exist_is_a_usage_error(segkit, here):
    labelme(here / "in", ["균열"], "cp949")
    assert segkit("convert", "in", "--encoding", "klingon").code == 2


def test_files_in_utf_8_stay_beside_others(segkit, here):
    labelme(here / "in" / "old", LABELS["cp949"], "cp949")
    labelme(here / "in" / "new", ["포트홀"], "utf-8")
    for more in ([], ["--encoding", "cp949"]):
        dataset, _ = converted(segkit, here / "in", "--force", *more)
        assert names(dataset) == {*LABELS["cp949"], "포트홀"}


@pytest.mark.parametrize("more", [[], ["--encoding", "cp949"]])
def test_other_formats_read_old_code_pages_too(segkit, here, more):
    path = coco(here / "coco" / "a.json", ["a.png"])
    document = json.loads(path.read_text())
    document["categories"] = [{"id": n, "name": name} for n, name in enumerate(LABELS["cp949"], 1)]
    path.write_bytes(json.dumps(document, ensure_ascii=False).encode("cp949"))
    picture(here / "coco" / "a.png")
    picture(here / "yolo" / "images" / "a.png")
    (here / "yolo" / "labels").mkdir()
    (here / "yolo" / "labels" / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    (here / "yolo" / "classes.txt").write_bytes("\n".join(LABELS["cp949"]).encode("cp949"))
    (here / "masks" / "masks").mkdir(parents=True)
    picture(here / "masks" / "images" / "a.png")
    Image.fromarray(np.eye(32, 48, dtype=np.uint8)).save(here / "masks" / "masks" / "a.png")
    (here / "masks" / "classes.txt").write_bytes("\n".join(LABELS["cp949"]).encode("cp949"))
    for name, kind in (("coco", "coco"), ("yolo", "yolo"), ("masks", "semantic")):
        dataset, report = converted(segkit, here / name, "--from", kind, "--force", *more)
        assert LABELS["cp949"][0] in names(dataset)
        assert any("not UTF-8; read as cp949" in row["why"] for row in report["findings"])
