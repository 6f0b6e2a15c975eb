"""Large TIFF files are read in parts, and predicted as if they were read whole."""

import json
from contextlib import closing

import numpy as np
import pytest
import tifffile
from drawn_discs import disc_model, draw_discs
from PIL import Image

from segkit.data.depth import Levels, to_bytes
from segkit.data.pictures import read_header
from segkit.data.windows import TiffWindows
from segkit.errors import InputError

LEVELS = Levels(integer=(100, 5000), floating=(0.0, 1.0))
LAYOUTS = [
    {}, {"tile": (32, 48)}, {"rowsperstrip": 7}, {"tile": (64, 64), "compression": "zlib"},
    {"rowsperstrip": 16, "compression": "zlib"}, {"tile": (32, 32), "bigtiff": True}, {"byteorder": ">"},
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", ["grey8", "rgb8", "rgba8", "grey16", "rgb16", "float"])
def test_windows_are_parts_of_the_picture(tmp_path, layout, kind):
    rng, channels = np.random.default_rng(0), {"rgb8": (3,), "rgba8": (4,), "rgb16": (3,)}.get(kind, ())
    values = rng.random((133, 217, *channels), np.float32)
    if kind != "float":
        values = (values * (255 if kind.endswith("8") else 6000)).astype(np.uint8 if kind.endswith("8") else np.uint16)
    options = {"extrasamples": ["unassalpha"]} if kind == "rgba8" else {}
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb" if channels else "minisblack", **layout, **options)
    rgb = values[..., :3] if channels else values
    whole = to_bytes(rgb, LEVELS).pixels if values.dtype != np.uint8 else rgb
    if whole.ndim == 2:
        whole = np.repeat(whole[..., None], 3, axis=2)
    windows = TiffWindows(tmp_path / "a.tif", LEVELS)
    assert (windows.height, windows.width) == (133, 217)
    for top, left, height, width in ((0, 0, 133, 217), (11, 30, 100, 150), (132, 216, 1, 1), (40, 0, 1, 217)):
        assert (windows.window(top, left, height, width) == whole[top : top + height, left : left + width]).all()
    windows.close()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"data": np.zeros((9, 9), np.uint16)}, "values of the type uint16, for which the model has no mapping"),
        ({"data": np.zeros((3, 9, 9), np.uint8), "photometric": "rgb", "planarconfig": "separate"}, "one after the"),
        ({"data": np.zeros((9, 9), np.uint8), "extratags": [(274, 3, 1, 6, True)]}, "turned by its orientation tag"),
        ({"data": np.zeros((9, 9), np.uint8), "photometric": "miniswhite"}, "colours of the kind MINISWHITE"),
    ],
)
def test_what_cannot_be_read_in_parts_is_said(tmp_path, options, why):
    tifffile.imwrite(tmp_path / "a.tif", **options)
    with pytest.raises(InputError, match=f"a.tif: cannot be read in parts: .*{why}"):
        TiffWindows(tmp_path / "a.tif", None)
    (tmp_path / "b.tif").write_bytes(b"no tiff")
    with pytest.raises(InputError, match=r"b\.tif: cannot be read in parts"):
        TiffWindows(tmp_path / "b.tif", None)


def test_a_broken_part_is_one_line(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.random.default_rng(0).integers(0, 9, (96, 96), np.uint8), tile=(32, 32), compression="zlib"
    )
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\xff" * count
    path.write_bytes(data)
    windows = TiffWindows(path, None)
    assert windows.window(0, 0, 32, 96).shape == (32, 96, 3)
    with pytest.raises(InputError, match=r"a\.tif: a part of it cannot be decoded"):
        windows.window(0, 0, 96, 96)
    windows.close()


@pytest.mark.parametrize("unet", [False, True])
def test_a_picture_that_is_read_in_parts_gives_the_same(segkit, here, monkeypatch, tmp_path, unet):
    model = disc_model(tmp_path / "m.pt", unet=unet)
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    discs = [(x, y, 13, 1 + (x + y) // 7 % 2) for x in range(20, 300, 33) for y in range(20, 200, 35)]
    (here / "in").mkdir()
    tifffile.imwrite(
        here / "in/a.tif", draw_discs(200, 300, discs), tile=(64, 64), compression="zlib", photometric="rgb"
    )
    options = ("--tile", 96, "--overlap", 40, "--format", "coco,csv,overlay", "--score", 0.3, "--force")
    found = []
    for largest in (10**8, 0):
        monkeypatch.setattr("segkit.inference.load.LARGEST_WHOLE", largest)
        done = segkit("predict", "in", *options)
        assert done.code == 0, done.err
        found.append(json.loads((here / "predictions/results.json").read_text()))
        assert ("a.tif: read in parts, as it is large: it has no overlay" in done.err) == (largest == 0)
        assert (here / "predictions/overlay/a.jpg").exists() == (largest > 0)
    assert len(found[0]) == len(discs)
    assert found[0] == found[1]
    done = segkit("predict", "in", *options[:-1], "--resume")
    assert "0 images (1 done before)" in done.err


def test_overviews_of_a_page_are_no_pages(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for side, kind in ((64, 0), (32, 1), (16, 1)):
            file.write(np.zeros((side, side, 3), np.uint8), photometric="rgb", subfiletype=kind, metadata=None)
    assert read_header(path).frames == 1
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((3, 20, 30), np.uint8), photometric="minisblack", metadata=None)
    assert read_header(tmp_path / "b.tif").frames == 3


def test_windows_of_jpegs_in_a_tiff_have_the_colours_of_the_picture(tmp_path):
    pixels = draw_discs(96, 128, [(40, 40, 30, 1), (90, 50, 30, 2)])
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels, tile=(32, 32), photometric="rgb", compression="jpeg", compressionargs={"outcolorspace": "ycbcr"}
    )
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].photometric.name == "YCBCR"
    with closing(TiffWindows(path, None)) as windows:
        found = windows.window(0, 0, 96, 128)
    with Image.open(path) as picture:
        decoded = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(found - decoded).mean() < 3


def test_a_broken_part_fails_its_picture_only(segkit, here, monkeypatch, tmp_path):
    model = disc_model(tmp_path / "m.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    monkeypatch.setattr("segkit.inference.load.LARGEST_WHOLE", 0)
    (here / "in").mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(
            here / f"in/{name}.tif", draw_discs(128, 128, [(60, 60, 20, 1)]), tile=(64, 64), compression="zlib"
        )
    with tifffile.TiffFile(here / "in/a.tif") as file:
        offset = file.pages[0].dataoffsets[3]
    data = bytearray((here / "in/a.tif").read_bytes())
    data[offset : offset + 8] = b"\xff" * 8
    (here / "in/a.tif").write_bytes(data)
    done = segkit("predict", "in", "--tile", 80, "--format", "coco")
    assert done.code == 1
    assert "in/a.tif: a part of it cannot be decoded" in done.err
    assert [i["file_name"] for i in json.loads((here / "predictions/images.json").read_text())["images"]] == ["b.tif"]
