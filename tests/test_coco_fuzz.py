"""For any COCO file: convert, train and eval say what is wrong, without a traceback, a hang, or 2 GB of memory."""

import copy
import json
import math
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from coco_files import HEIGHT, SQUARE, WIDTH, annotation, box, document, draw, image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.cli import main
from segkit.data.masks import to_rle

resource = pytest.importorskip("resource")  # of Unix

EXAMPLES = int(os.environ.get("SEGKIT_FUZZ", "100"))  # more of them: SEGKIT_FUZZ=5000 pytest tests/test_coco_fuzz.py
SECONDS = 60  # of the CPU, for a command on three images of 48 x 64 pixels
GIB = 2 << 30

RLE = {"size": [HEIGHT, WIDTH], "counts": [300, 20, 28, 20, HEIGHT * WIDTH - 368]}
SOUND = document(
    [
        annotation(1, 1, 1, attributes={"hard": True}),
        annotation(2, 1, 2, segmentation=[SQUARE, [30, 30, 40, 30, 40, 40]]),
        annotation(3, 2, 2, segmentation=RLE),
        annotation(4, 2, 1, segmentation=to_rle(RLE, HEIGHT, WIDTH), iscrowd=1),
        annotation(5, 3, 1, keypoints=[1, 2, 2], num_keypoints=1),
    ],
    [image(1), image(2, license=1, flags=["blurred"]), image(3, coco_url="http://x/a/p3.png")],
    [{"id": 1, "name": "nut", "supercategory": "part"}, {"id": 2, "name": "bolt"}],
    info={"year": 2020},
)
BOXES = SOUND | {"annotations": [box(1, 1), box(2, 2, category_id=2), box(3, 3, (30, 20, 20, 20))]}
RESULTS = [
    {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": [SQUARE], "bbox": [5, 5, 20, 20]},
    {"image_id": 2, "category_id": 2, "score": 0.4, "segmentation": RLE, "bbox": [6, 6, 10, 10]},
]

deep = st.integers(10, 300).map(lambda depth: _nested(depth))  # more: test_coco_documents.py
odd = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 1, 2, 1.0, "1", "2", 0.5, 1e8, -1e8, 1e300, 1e-300, 2**31, 2**32, 2**63, 10**40,
         math.nan, math.inf, "", "a", "\ud800", "x" * 3000, "../../p1.png", "/etc/passwd", "p1.png", [], {}, [[]],
         [[[]]], [{}], [1, 2], [5, 5, 25, 5, 25, 25], [[5, 5], [25, 5], [25, 25]], [0, 0, 1e9, 1e9], [3, 3, -4, -4],
         [HEIGHT * WIDTH], [WIDTH, HEIGHT], [HEIGHT, WIDTH], [2**40], [-1, HEIGHT * WIDTH + 1], "0`0`0", "P", "f31"]
    ),
    st.text(max_size=6),
    st.integers(),
    st.floats(),
    st.lists(st.floats(-99, 99), max_size=9),
    deep,
)  # fmt: skip


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def places(top):
    """All keys and indices in a document, with what holds them."""
    found, waiting = [], [top]
    while waiting:
        here = waiting.pop()
        for where in list(here) if isinstance(here, dict) else range(len(here)):
            found.append((here, where))
            if isinstance(here[where], dict | list):
                waiting.append(here[where])
    return found


@st.composite
def damaged(draw, sound):
    """A document in which some values are replaced, left out, there twice, or exchanged with others."""
    top = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        holders = places(top)
        if not holders:
            break
        holder, where = holders[draw(st.integers(0, len(holders) - 1))]
        match draw(st.sampled_from(["replace", "replace", "replace", "drop", "twice", "exchange"])):
            case "replace":
                holder[where] = copy.deepcopy(draw(odd))
            case "drop":
                del holder[where]
            case "twice" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[where]))
            case _:
                other, there = holders[draw(st.integers(0, len(holders) - 1))]
                holder[where] = copy.deepcopy(other[there])
    return top


class Hang(BaseException):
    """Not an Exception, so that nothing takes it for a fault of the input."""


def ring(*_):
    raise Hang(f"longer than {SECONDS} seconds")


@pytest.fixture(autouse=True, scope="module")
def limits():
    """At most 2 GiB more than now, and no command that hangs."""
    import torch  # noqa: F401 -- its own memory does not count

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    before = signal.signal(signal.SIGPROF, ring)
    resource.setrlimit(resource.RLIMIT_DATA, (used + GIB, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    signal.signal(signal.SIGPROF, before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw(folder)
    return folder


def run(pictures, top, *commands, results=None):
    """Run commands on a file; returns their exit codes. ``Path``s in a command are relative to the folder."""
    folder = Path(tempfile.mkdtemp(dir=pictures))
    try:
        for picture in pictures.glob("*.png"):
            (folder / picture.name).symlink_to(picture)
        (folder / "t.json").write_text(json.dumps(top), encoding="utf-8")
        if results is not None:
            (folder / "r.json").write_text(json.dumps(results), encoding="utf-8")
        codes = []
        for command in commands:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            codes.append(main([str(folder / word) if isinstance(word, Path) else str(word) for word in command]))
            signal.setitimer(signal.ITIMER_PROF, 0)
            assert codes[-1] in (0, 1), command
        check_report(folder / "out")
        return codes
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        shutil.rmtree(folder)


def check_report(out):
    """The report accounts for every shape, and the dataset is what the report says."""
    if not out.exists():
        return
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["shapes"] == report["converted"] + report["lost"] + report["dropped"]
    assert report["lost"] == sum(row["shapes"] for row in report["findings"] if row["action"] == "left out")
    top = json.loads((out / "train.json").read_text(encoding="utf-8"))
    assert len(top["annotations"]) == report["instances"] <= report["converted"]
    assert {a["image_id"] for a in top["annotations"]} <= {each["id"] for each in top["images"]}


def test_the_sound_files_are_converted_scored_and_trained_on(pictures):
    score = ("eval", Path("r.json"), "--data", Path("t.json"), "--json")
    for top in (SOUND, BOXES):
        commands = [("convert", Path("t.json"), "--out", Path("out"), "--val", 0, "--quiet")]
        assert run(pictures, top, *commands) == [0]
    assert run(pictures, SOUND, score, results=RESULTS) == [0]


def fuzzed(examples):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=max(examples, 1), suppress_health_check=checks)


@fuzzed(EXAMPLES)
@given(damaged(SOUND) | damaged(BOXES), st.sampled_from(["link", "none"]))
def test_any_coco_file_is_converted_or_named(pictures, top, images):
    run(pictures, top, ("convert", Path("t.json"), "--from", "coco", "--val", 0, "--out", Path("out"),
                        "--images", images, "--quiet"))  # fmt: skip


@fuzzed(EXAMPLES // 2)
@given(damaged(SOUND) | damaged(BOXES), damaged(RESULTS), st.booleans(), st.sampled_from(["fast", "pycocotools"]))
def test_any_coco_files_are_scored_or_named(pictures, top, results, sound, engine):
    results = RESULTS if sound else results
    for data in (top, SOUND):
        run(pictures, data, ("eval", Path("r.json"), "--data", Path("t.json"), "--engine", engine, "--json"),
            results=results)  # fmt: skip


@pytest.mark.parametrize(("model", "sound"), [("unet", SOUND), ("fasterrcnn", BOXES)])
@fuzzed(EXAMPLES // 30)
@given(data=st.data())
def test_any_coco_file_is_trained_on_and_scored_or_named(pictures, model, sound, data):
    run(pictures, data.draw(damaged(sound)),
        ("train", Path("t.json"), "--model", model, "--backbone", "resnet18", "--weights", "none", "--size", 32,
         "--steps", 2, "--batch", 2, "--device", "cpu", "--workers", 0, "--out", Path("runs"), "--quiet"),
        ("eval", Path("runs/latest"), "--data", Path("t.json"), "--device", "cpu", "--json"))  # fmt: skip
