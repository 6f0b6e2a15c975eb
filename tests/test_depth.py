"""Values of more than 8 bits become bytes by one mapping for a dataset, which the model card keeps."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_discs import disc_model
from PIL import Image
from test_picture_looks import coco, picture

from segkit.data.depth import Levels
from segkit.data.find_levels import few_levels, find_levels
from segkit.data.geometry import Framing
from segkit.data.pixels import load_rgb, load_upright_rgb
from segkit.formats.dataset_folder import open_split
from segkit.formats.pictures.framed import odd_pictures
from segkit.loading.sampler import Key
from segkit.loading.whole import WholePictures
from segkit.models.card import ModelCard

RAMP = np.tile(np.linspace(1000, 3000, 48), (32, 1))


def save(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(("odd", "becomes"), [(np.nan, 0), (np.inf, 255), (-np.inf, 0)])
def test_values_that_are_not_finite_do_not_change_the_others(tmp_path, odd, becomes):
    values = RAMP.astype(np.float32)
    values[5, 5] = odd
    for levels in (None, Levels(floating=(1000.0, 3000.0))):
        pixels = load_rgb(save(tmp_path / "a.tif", values), levels)[:, :, 0]
        assert (pixels[0, 0], pixels[0, -1], pixels[5, 5]) == (0, 255, becomes)


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_an_image_of_one_value_is_black(tmp_path, value):
    path = save(tmp_path / "a.tif", np.full((4, 6), value, np.float32))
    assert load_rgb(path).max() == (255 if value == np.inf else 0)


def test_a_hot_pixel_changes_neither_its_own_image_nor_the_others(tmp_path):
    paths = []
    for number in range(6):
        values = RAMP.astype(np.uint16)
        values[number, 3] = 65535 if number == 2 else values[number, 3]
        paths.append(save(tmp_path / f"{number}.png", values))
    levels = find_levels(paths)
    plain, hot = (load_rgb(paths[number], levels)[:, :, 0] for number in (0, 2))
    assert (np.delete(hot.ravel(), 2 * 48 + 3) == np.delete(plain.ravel(), 2 * 48 + 3)).all()
    assert plain.min() == 0
    assert plain.max() == 255


def test_a_value_means_the_same_in_every_image(tmp_path):
    dark, bright = save(tmp_path / "a.tif", RAMP.astype(np.uint16)), tmp_path / "b.tif"
    save(bright, (RAMP * 3).astype(np.uint16))
    levels = find_levels([dark, bright])
    assert load_rgb(dark, levels).max() < 0.4 * load_rgb(bright, levels).max()


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_colours_of_16_bits_that_use_them_keep_their_range(tmp_path, suffix):
    rgb = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), rgb[:, :, ::-1].astype(np.uint16) * 257)
    assert find_levels([path]).integer == (0.0, 65535.0)
    assert (load_rgb(path, find_levels([path])) == rgb).all()


def test_colours_of_12_bits_are_not_black(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 4096, (32, 48, 3), dtype=np.uint16)
    assert cv2.imwrite(str(tmp_path / "a.png"), rgb)
    assert load_rgb(tmp_path / "a.png", find_levels([tmp_path / "a.png"])).mean() > 100


def test_images_of_8_bits_have_no_levels_and_stay_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (32, 48, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", pixels)
    assert find_levels([path]) == Levels()
    assert (load_rgb(path, Levels((0.0, 10.0), (0.0, 1.0))) == pixels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_training_sees_pictures_of_coco_files_upright(tmp_path, orientation, suffix):
    coco(tmp_path / "train.json", [f"a.{suffix}"], (48, 32) if orientation > 4 else (32, 48))
    path = picture(tmp_path / f"a.{suffix}", orientation=orientation)
    loaded = WholePictures(open_split(tmp_path, "train"), Framing("instances", 32, 64))[Key(0, 0)]
    assert (loaded.image == load_upright_rgb(path).transpose(2, 0, 1)).all()


def test_training_takes_odd_pictures_and_refuses_exchanged_sides(tmp_path):
    coco(tmp_path / "train.json", ["a.png", "b.png"], (32, 48))
    picture(tmp_path / "a.png", (64, 96))
    picture(tmp_path / "b.png", (48, 32))
    pictures = WholePictures(open_split(tmp_path, "train"), Framing("instances", 32, 64))
    assert tuple(pictures[Key(0, 0)].image.shape) == (3, 32, 48)
    [warning] = odd_pictures(open_split(tmp_path, "train"))
    assert "1 of 2 pictures that were looked at" in warning
    assert "has 48x32, the dataset says 32x48 pixels (height x width)" in str(pictures[Key(0, 1)])


def test_pictures_of_several_pages_are_named_in_training_and_evaluation(tmp_path):
    coco(tmp_path / "train.json", ["a.tif", "b.tif"], (32, 48))
    pages = [Image.fromarray(np.full((32, 48), value, np.uint8)) for value in (10, 200, 90)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "b.tif")
    assert odd_pictures(open_split(tmp_path, "train")) == ["a.tif has 3 pages: the first is used"]


def test_training_finds_each_picture_and_reads_sizes_that_the_file_lacks(tmp_path):
    coco(tmp_path / "annotations" / "instances_train2017.json", ["a.png", "b.png"], None)
    picture(tmp_path / "train2017" / "a.png")
    picture(tmp_path / "images" / "b.png", (40, 40))
    dataset = open_split(tmp_path / "annotations" / "instances_train2017.json", "train")
    assert [(image.height, image.width) for image in dataset.images] == [(32, 48), (40, 40)]
    assert all(dataset.paths.of(image).is_file() for image in dataset.images)


def test_a_run_keeps_its_levels_and_says_them(segkit, here):
    coco(here / "in" / "train.json", ["a.png", "b.png"], (32, 48))
    for name in ("a.png", "b.png"):
        save(here / "in" / name, RAMP.astype(np.uint16))
    options = ("--weights", "none", "--device", "cpu", "--size", 32, "--batch", 2, "--steps", 1, "--model", "unet")
    done = segkit("train", "in", *options)
    assert done.code == 0, done.err
    assert "become 0 to 255" in done.out + done.err
    assert "grey levels" not in done.out + done.err
    card = torch.load(here / "runs" / "latest" / "last.pt", weights_only=True)["card"]
    low, high = ModelCard.from_plain(card).levels.integer
    assert 1000 <= low < 1100
    assert 2900 < high <= 3000
    (here / "new").mkdir()
    save(here / "new" / "a.png", RAMP.astype(np.uint16))
    save(here / "new" / "bright.png", (RAMP * 4).astype(np.uint16))
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(here / "new" / "c.png")
    done = segkit("predict", "new", "--device", "cpu")
    assert done.code == 0, done.err
    said = " ".join((done.out + done.err).split())
    assert "bright.png: 100% of its values lie outside" in said
    assert "a.png: " not in said
    older = {name: value for name, value in card.items() if name != "levels"}
    assert ModelCard.from_plain(older).levels is None


def test_pictures_of_which_few_grey_levels_are_left_are_named(segkit, here):
    """A dark field with faint structure, and one bright bead that stretches the range."""
    coco(here / "in" / "train.json", ["a.png", "b.png"], (64, 64))
    paths = []
    for number, name in enumerate(("a.png", "b.png")):
        values = np.random.default_rng(number).normal(300, 30, (64, 64)).astype(np.uint16)
        values[:4, :4] = 60000
        paths.append(save(here / "in" / name, values))
    levels = find_levels(paths)
    few, many = few_levels(paths, levels)
    assert few == 1
    assert 60 < many < 130
    scaled = [save(path, (np.log(np.asarray(Image.open(path), float)) * 5000).astype(np.uint16)) for path in paths[1:]]
    assert few_levels(scaled, find_levels(scaled)) is None
    flat = [save(here / "flat.png", np.repeat(np.uint16([5, 60000]), 800).reshape(40, 40))]
    assert few_levels(flat, find_levels(flat)) is None  # two values are two levels
    assert few_levels(paths, Levels()) is None
    (here / "in" / "b.png").write_bytes((here / "in" / "a.png").read_bytes())
    options = ("--weights", "none", "--device", "cpu", "--size", 32, "--batch", 2, "--steps", 1, "--model", "unet")
    done = segkit("train", "in", *options)
    assert done.code == 0, done.err
    assert "values, and 1 of 256 grey levels as the model gets them: faint objects may be lost" in done.err


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_noise_of_a_camera_does_not_become_objects(segkit, here, monkeypatch, suffix):
    """A frame with the lid on: values 100 to 109 of 65535, for models that learnt from 16 and from 8 bits."""
    (here / "in").mkdir()
    noise = np.random.default_rng(0).integers(100, 110, (80, 100)).astype(np.uint16)
    save(here / f"in/noise{suffix}", noise)
    for levels in (Levels((0.0, 4095.0)), Levels()):
        model = disc_model(here / "m.pt")
        object.__setattr__(model.card, "levels", levels)
        monkeypatch.setattr("segkit.inference.predict.load", lambda *_, model=model, **__: model)
        done = segkit("predict", "in", "--format", "coco", "--score", 0, "--force")
        assert done.code == 0, done.err
        assert (here / "predictions/results.json").read_text().strip() == "[]"
        assert ("has no mapping" in done.err) == (levels == Levels())
    cells = noise.copy()
    cells[20:40, 20:40] = 3000
    save(here / f"in/noise{suffix}", cells)
    done = segkit("predict", "in", "--format", "coco", "--score", 0, "--force")
    assert len(json.loads((here / "predictions/results.json").read_text())) > 0
