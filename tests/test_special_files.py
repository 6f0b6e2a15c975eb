"""Named pipes, devices and loops of links are passed over, and sizes are bounded: no command waits or fills memory."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from labelme_files import square, write
from PIL import Image
from test_picture_looks import coco, converted, picture

from segkit.data.pictures import read_header
from segkit.data.read_file import head_of
from segkit.errors import InputError

if not hasattr(os, "mkfifo"):
    pytest.skip("there are no named pipes here", allow_module_level=True)

PIPES = [
    "a.json",
    "b.png",
    "labels/c.txt",
    "data.yaml",
    "masks/d.png",
    "labels.txt",
    "images/e.jpg",
    "Annotations/f.xml",
]


@pytest.fixture
def litter(here: Path) -> Path:
    """A folder of named pipes, a link to a device, and links in a circle."""
    for name in PIPES:
        (here / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(here / "in" / name)
    (here / "in" / "zero.json").symlink_to("/dev/zero")
    (here / "in" / "again").symlink_to(here / "in")
    return here / "in"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that may use 4 GiB of address space and a minute."""
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30));"
    script = f"{limit} from segkit.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("kind", ["auto", "labelme", "coco", "yolo", "voc", "semantic", "idmask", "via"])
def test_pipes_devices_and_loops_are_passed_over(segkit, litter, kind):
    done = segkit("convert", litter, "--out", litter.parent / "out", "--from", kind)
    assert done.code == 1
    assert "Traceback" not in done.err


def test_the_files_beside_pipes_are_converted(segkit, litter):
    write(litter / "good.json", [square(8, 4, 16)])
    dataset, _ = converted(segkit, litter)
    assert [image["file_name"] for image in dataset["images"]] == ["good.png"]


@pytest.mark.parametrize("arguments", [("convert", "pipe"), ("predict", "pipe"), ("eval", "pipe", "--data", "pipe")])
def test_a_pipe_as_an_argument_is_refused(segkit, here, arguments):
    os.mkfifo(here / "pipe")
    assert segkit(*arguments).code in (1, 2)


def test_a_declared_size_does_not_fill_memory(here):
    write(here / "lm" / "a.json", [square(8, 4, 16)], size=(32, 32), imageHeight=60000, imageWidth=60000)
    coco(here / "coco" / "a.json", ["a.png"], (60000, 60000))
    picture(here / "coco" / "a.png", (32, 32))
    for name in ("lm", "coco"):
        done = run("convert", here / name, "--out", here / f"out-{name}")
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        assert "60000x60000" in done.stdout + done.stderr


def test_a_mask_made_to_fill_memory_becomes_a_row(here):
    picture(here / "in" / "images" / "a.png")
    picture(here / "in" / "images" / "b.png")
    (here / "in" / "masks").mkdir()
    Image.fromarray(np.eye(32, 48, dtype=np.uint8)).save(here / "in" / "masks" / "a.png")
    Image.new("1", (40000, 40000)).save(here / "in" / "masks" / "b.png")
    done = run("convert", here / "in", "--from", "semantic", "--out", here / "out", "--val", 0)
    assert done.returncode == 0, done.stderr
    rows = json.loads((here / "out" / "report.json").read_text())["findings"]
    assert any(
        row["file"].endswith("b.png") and "mask of 40000x40000 pixels (height x width)" in row["why"] for row in rows
    )


def test_the_limit_of_pillow_is_as_before_after_a_conversion(segkit, here):
    before = Image.MAX_IMAGE_PIXELS
    coco(here / "in" / "a.json", ["a.png"])
    picture(here / "in" / "a.png")
    converted(segkit, here / "in")
    assert before == Image.MAX_IMAGE_PIXELS


def test_odd_names_of_pictures_never_end_a_conversion(segkit, here):
    odd = ["", "..", "/", "a\0b", "x" * 5000 + ".png", "\ud800.png", "//ok.png", "..\\..\\ok.png", "C:\\x\\ok.png"]
    odd += [
        "/etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/proc/kmsg",
        "~/.ssh/id",
        "images",
        "OK.PNG",
        "./ok.png",
        "ok.png/",
    ]
    path = coco(here / "in" / "a.json", ["x"] * len(odd))
    document = json.loads(path.read_text())
    for image, name in zip(document["images"], odd, strict=True):
        image["file_name"] = name
    path.write_text(json.dumps(document))
    picture(here / "in" / "ok.png")
    (here / "in" / "images").mkdir()
    dataset, report = converted(segkit, here / "in", "--images", "copy")
    assert {path.suffix.lower() for path in (here / "out" / "images").rglob("*.*")} == {".png"}
    left_out = sum(row["shapes"] for row in report["findings"] if row["action"] == "left out")
    assert len(dataset["images"]) + left_out == len(odd)


@pytest.mark.parametrize("kind", ["masks", "yolo", "labelme"])
def test_links_to_folders_are_followed_in_every_format(segkit, here, kind):
    store = here / "store"
    if kind == "labelme":
        write(store / "images" / "a.json", [square(8, 4, 16)])
    else:
        picture(store / "images" / "a.png", (32, 32))
    if kind == "masks":
        (store / "masks").mkdir()
        Image.fromarray(np.pad(np.full((8, 8), 7, np.uint8), 12)).save(store / "masks" / "a.png")
    if kind == "yolo":
        (store / "labels").mkdir()
        (store / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (here / "in").mkdir()
    for folder in store.iterdir():
        (here / "in" / folder.name).symlink_to(folder)
    dataset, _ = converted(segkit, here / "in")
    assert len(dataset["annotations"]) == 1


@pytest.mark.parametrize("name", ["b.png", "sub/b.png", "elsewhere/b.png"])
def test_a_pipe_that_a_file_names_as_its_picture_is_not_opened(here, name):
    for kind in ("labelme", "coco"):
        (here / kind / "sub").mkdir(parents=True)
        os.mkfifo(here / kind / "sub" / "b.png")
    write(here / "labelme" / "a.json", [square(8, 4, 16)], picture=False, imagePath=name)
    coco(here / "coco" / "a.json", [name])
    for kind in ("labelme", "coco"):
        done = run("convert", here / kind, "--out", here / "out")
        assert done.returncode == 1
        assert "not found" in done.stderr


def test_the_channels_of_a_pipe_are_not_looked_at(here):
    os.mkfifo(here / "a.tif")
    with pytest.raises(InputError, match="not a regular file"):
        read_header(here / "a.tif")


@pytest.mark.parametrize("kind", ["labelme", "yolo", "semantic"])
def test_a_folder_that_cannot_be_listed_has_a_row(segkit, here, kind, monkeypatch):
    for folder in ("open", "closed"):
        base = here / "in" / folder
        if kind == "labelme":
            write(base / "a.json", [square(8, 4, 16)])
            continue
        picture(base / "images" / "a.png", (32, 32))
        (base / ("labels" if kind == "yolo" else "masks")).mkdir()
        if kind == "yolo":
            (base / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
        else:
            Image.fromarray(np.pad(np.full((8, 8), 1, np.uint8), 12)).save(base / "masks" / "a.png")
    _closed(monkeypatch, here / "in" / "closed")
    outcome = segkit("convert", here / "in", "--from", kind, "--out", here / "out", "--val", 0, "--strict")
    assert outcome.code == 3, outcome.err
    findings = json.loads((here / "out" / "report.json").read_text())["findings"]
    rows = [(row["action"], row["file"], row["why"]) for row in findings if "folder" in row["why"]]
    assert rows == [("left out", "closed", "a folder that cannot be read: Permission denied")]


@pytest.mark.parametrize("kind", ["auto", "yolo"])
def test_a_source_that_cannot_be_listed_is_told_so(segkit, here, kind, monkeypatch):
    write(here / "in" / "a.json", [square(8, 4, 16)])
    _closed(monkeypatch, here / "in")
    outcome = segkit("convert", here / "in", "--from", kind)
    assert (outcome.code, outcome.err.splitlines()[0]) == (
        1,
        f"error: {here / 'in'}: cannot be read: Permission denied",
    )


def test_a_folder_of_unlabelled_pictures_that_cannot_be_listed_is_named(here, dataset, monkeypatch):
    from segkit.training.plan import read_data
    from segkit.training.teachers.unlabelled_images import unlabelled_images

    for folder in ("open", "closed"):
        picture(here / "in" / folder / "a.png", (32, 32))
    _closed(monkeypatch, here / "in" / "closed")
    images, notes = unlabelled_images([str(here / "in")], *read_data(dataset))
    assert len(images.images) == 1
    assert notes == [f"a folder of unlabelled pictures cannot be read: {here / 'in' / 'closed'}: Permission denied"]


def _closed(monkeypatch, folder):
    """Let the system refuse to list a folder, as it does for all but root."""
    listed = os.scandir

    def refuse(path="."):
        if not isinstance(path, int) and Path(os.fsdecode(path)) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="a file that is waited for, without a size")
def test_files_without_a_size_are_not_waited_for(here):
    for name in ("a.png", "b.json", "labels.txt"):
        (here / name).symlink_to("/proc/kmsg")
        assert head_of(here / name, 4) == b""
    with pytest.raises(InputError, match="an empty file"):
        read_header(here / "a.png")
