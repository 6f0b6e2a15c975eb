"""Text of other people's files, where it goes: the terminal, spreadsheets, lists with a name a line, messages."""

import base64
import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelme_files import write as write_labelme
from PIL import Image

from segkit.errors import InputError
from segkit.text import from_spreadsheet_cell, one_line, spreadsheet_cell, visible

HOSTILE = "\x1b[31mred\x1b]0;title\x07 :bug: [bold]x[/bold] \u202eabc"


@given(st.text())
def test_visible_text_has_nothing_that_a_terminal_obeys(text):
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2028" for c in visible(text))


@given(st.text())
def test_visible_text_that_prints_is_unchanged(text):
    assert not text.isprintable() or visible(text) == text


@given(st.text())
def test_one_line_is_one_line_and_not_empty(text):
    assert len(one_line(text).splitlines()) == (1 if text else 0)


@given(st.text(alphabet="'=+-@\t\ra 1"))
def test_a_spreadsheet_cell_is_text_and_can_be_read_back(text):
    cell = spreadsheet_cell(text)
    assert cell[:1] not in tuple("=+-@\t\r")
    assert from_spreadsheet_cell(cell) == text


@pytest.mark.parametrize("label", [HOSTILE, ":warning: crack", "[red]crack[/red]", "a\rb", "\x9b31mC1"])
def test_the_terminal_shows_a_label_and_does_not_obey_it(segkit, tmp_path, label):
    write_labelme(tmp_path / "in/a.json", [{"label": label, "points": [[2, 2], [20, 2], [20, 20]]}])
    write_labelme(tmp_path / "in/b.json", [{"label": label, "points": [[2, 2]], "shape_type": "polygon"}])
    done = segkit("convert", tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 0
    assert not any(ord(c) < 32 and c != "\n" for c in done.err)
    assert "\x9b" not in done.err
    assert "\u202e" not in done.err
    for word in (":bug:", ":warning:", "[red]", "[bold]"):
        assert (word in label) <= (word in done.err)


def test_a_file_name_with_escapes_is_shown_in_an_error(segkit, tmp_path):
    done = segkit("convert", tmp_path / "no\x1b[31m\nsuch")
    assert done.code == 1
    assert "\x1b" not in done.err.replace("\x1b[31merror:", "")
    assert "no\\x1b[31m\\nsuch" in done.err


@pytest.mark.parametrize("target", ["coco", "labelme", "semantic", "voc", "idmask", "yolo"])
def test_a_line_break_in_a_label_shifts_no_category(segkit, tmp_path, target):
    shapes = [
        {"label": "b", "points": [[2, 2], [8, 2], [8, 8], [2, 8]]},
        {"label": "a\nz", "points": [[12, 12], [18, 12], [18, 18], [12, 18]]},
        {"label": "c\u2028d\r\n", "points": [[22, 22], [28, 22], [28, 28], [22, 28]]},
    ]
    write_labelme(tmp_path / "in/a.json", shapes)
    done = segkit("convert", tmp_path / "in", "--out", tmp_path / "out", "--to", target, "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert list(document["categories"]) == ["a z", "b", "c d"]
    assert sum("line break" in row["why"] for row in document["findings"]) == 2
    for name in ("labels.txt", "classes.txt", "class_names.txt"):
        if (path := tmp_path / "out" / name).is_file():
            names = [line.split(" ", 1)[-1] if name == "classes.txt" else line for line in path.read_text().split("\n")]
            assert {"a z", "b", "c d"} <= set(names)
    again = segkit("convert", tmp_path / "out", "--from", target, "--out", tmp_path / "again", "--json")
    assert json.loads(again.out)["categories"] == {"a z": 1, "b": 1, "c d": 1}


def test_a_category_that_looks_like_a_formula_stays_text_in_a_spreadsheet(segkit, tmp_path):
    label = "=cmd|' /C calc'!A0"
    write_labelme(tmp_path / "in/a.json", [{"label": label, "points": [[2, 2], [20, 2], [20, 20]]}])
    segkit("convert", tmp_path / "in", "--to", "idmask", "--out", tmp_path / "out")
    with (tmp_path / "out/instances.csv").open(newline="", encoding="utf-8") as file:
        assert [row["category"] for row in csv.DictReader(file)] == ["'" + label]
    again = segkit("convert", tmp_path / "out", "--from", "idmask", "--out", tmp_path / "again", "--json")
    assert list(json.loads(again.out)["categories"]) == [label]


def test_the_report_of_a_broken_picture_is_the_same_bytes_every_time(segkit, tmp_path):
    shapes = [{"label": "b", "points": [[2, 2], [8, 2], [8, 8], [2, 8]]}]
    for name in ("a", "b"):
        document = json.loads(write_labelme(tmp_path / f"in/{name}.json", shapes).read_text())
        document["imageData"] = base64.b64encode(b"\xff\xd8\xff no picture" * 9).decode()
        (tmp_path / f"in/{name}.json").write_text(json.dumps(document))
        (tmp_path / f"in/{name}.png").unlink()
    write_labelme(tmp_path / "in/good.json", shapes)
    reports = []
    for out in ("one", "two"):
        segkit("convert", tmp_path / "in", "--out", tmp_path / out)
        reports.append((tmp_path / out / "report.json").read_bytes())
    assert reports[0] == reports[1]
    assert b"left out" in reports[0]
    assert b" at 0x" not in reports[0]


def test_messages_carry_no_memory_addresses(tmp_path):
    try:
        Image.open(io.BytesIO(b"no picture"))
    except OSError as error:
        message = InputError(f"a.png: {error}").message
    assert "BytesIO" in message
    assert "0x" not in message
