"""The installed LabelMe, of any version, opens the files that segkit writes.

LabelMe's reader is private and moves between releases. It runs in another process; segkit never imports it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_READ = """
import importlib, json, sys

def reader():
    for module, name in (
        ("labelme._label_file", "read_label_file"),  # 7
        ("labelme._label_file", "LabelFile"),  # 6
        ("labelme.label_file", "LabelFile"),  # 5
    ):
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
        return (lambda path: found(filename=path)) if name == "read_label_file" else found
    raise SystemExit("this LabelMe keeps its reader in another place: add it to tests/labelme_program.py")

read = reader()
for path in sys.argv[1:]:
    opened = read(path)
    first = lambda *names: next(getattr(opened, name) for name in names if hasattr(opened, name))
    shapes = [s if isinstance(s, dict) else vars(s) for s in opened.shapes]
    print(json.dumps({
        "labels": [s["label"] for s in shapes],
        "masks": sum(s.get("mask") is not None for s in shapes),
        "flags": opened.flags,
        "has_picture": first("image_data", "imageData") is not None,
    }))
"""


_DRAW = """
import importlib, json, sys

def rasterizer():
    for module in ("labelme._utils._mask", "labelme.utils.shape"):  # 7; 5 and 6
        try:
            return importlib.import_module(module).shape_to_mask
        except (ImportError, AttributeError):
            continue
    raise SystemExit("this LabelMe draws its masks in another place: add it to tests/labelme_program.py")

shape_to_mask = rasterizer()
height, width, shapes = json.load(sys.stdin)
masks = [shape_to_mask((height, width), s["points"], shape_type=s["shape_type"]) for s in shapes]
json.dump([mask.astype(int).tolist() for mask in masks], sys.stdout)
"""


def open_in_labelme(*paths: Path) -> list[dict[str, Any]]:
    """What the installed LabelMe reads in files: labels, number of masks, flags, whether it found the image."""
    return [json.loads(line) for line in _run(_READ, *map(str, paths)).splitlines()]


def draw_in_labelme(height: int, width: int, shapes: list[dict[str, Any]]) -> list[list[list[int]]]:
    """The masks that the installed LabelMe draws for the shapes of files: [height][width] of 0 and 1."""
    masks: list[list[list[int]]] = json.loads(_run(_DRAW, text=json.dumps([height, width, shapes])))
    return masks


def _run(code: str, *arguments: str, text: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], input=text, capture_output=True, text=True, check=False,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
