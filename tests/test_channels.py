"""Pictures of other than three channels: TIFF files of microscopes and cameras, from conversion to prediction."""

import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from training import config

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.data.channels import decode_channels, preview, to_grey
from segkit.data.depth import Levels
from segkit.data.find_levels import count_channels, find_channel_ranges
from segkit.data.geometry import Warp
from segkit.data.pictures import read_header
from segkit.data.pixels import decode, thumbnail
from segkit.data.tiff_channels import look_at_channels
from segkit.errors import ConfigError, InputError
from segkit.inference.input_files import Picture
from segkit.inference.measure import intensities, stored_values
from segkit.loading.augment import STRENGTHS, augment_pixels
from segkit.loading.decode import resize_rgb
from segkit.models.backbones import make_body, normalise
from segkit.models.card import ModelCard
from segkit.models.input_channels import adapted, take_channels
from segkit.training.train import train

WAYS = {
    "contig": {"photometric": "minisblack", "planarconfig": "contig"},
    "separate": {"photometric": "minisblack", "planarconfig": "separate"},
    "imagej": {"imagej": True, "metadata": {"axes": "CYX"}},
    "ome": {"photometric": "minisblack", "metadata": {"axes": "CYX"}},
}


def write(path, values, way):
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_name(f"{path.name}.ome.tif" if way == "ome" else f"{path.name}.tif")
    tifffile.imwrite(path, values if way == "contig" else np.moveaxis(values, 2, 0), **WAYS[way])
    return path


def drawn(count=5, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (20, 30, count)).astype(dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("count", [2, 4, 5])
def test_channels_are_read_as_they_were_written(tmp_path, way, dtype, count):
    values = drawn(count, dtype)
    path = write(tmp_path / "a", values, way)
    assert look_at_channels(path)[:2] == (20, 30)
    assert look_at_channels(path).channels == count
    found = decode_channels(path, ((0.0, 255.0),) * count)
    assert np.array_equal(found.pixels, values.astype(np.uint8))
    assert found.clipped == 0
    header = read_header(path)
    assert (header.height, header.width) == (20, 30)
    assert header.channels == count
    assert preview(path).shape == decode(path, None, turn=True).pixels.shape == (20, 30, 3)
    assert len(thumbnail(path)) == 256


@pytest.mark.parametrize("way", WAYS)
def test_each_channel_is_measured(tmp_path, way):
    values = drawn(5)
    path = write(tmp_path / "a", values, way)
    found = stored_values(Picture(path, path.name, "a"), preview(path))
    assert np.array_equal(found, values)
    rows = intensities(found, (0, 0, np.ones((20, 30), np.uint8)))
    assert [rows[f"mean_{number}"] for number in range(1, 6)] == pytest.approx(values.mean((0, 1)), rel=1e-5)


def test_channels_have_levels_of_their_own(tmp_path):
    values = drawn(5) * np.array([1, 10, 100, 200, 300], np.uint16)
    paths = [write(tmp_path / str(n), np.roll(values, n, 0), "contig") for n in range(3)]
    assert count_channels(paths) == 5
    ranges = find_channel_ranges(paths, 5)
    assert ranges[4][1] == pytest.approx(199 * 300, rel=0.02)
    pixels = decode_channels(paths[0], ranges).pixels
    for number in range(5):
        assert pixels[..., number].min() == 0
        assert pixels[..., number].max() == 255
    assert find_channel_ranges(paths, 7) is None
    with pytest.raises(InputError, match="has 5 channels, and not 7"):
        decode_channels(paths[0], ((0.0, 1.0),) * 7)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="has no 5 channels, as only TIFF files have"):
        decode_channels(tmp_path / "a.png", ranges)


def test_colours_and_transparency_are_no_channels(tmp_path):
    rgba = drawn(4, np.uint8)
    tifffile.imwrite(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "la.tif", rgba[..., :2], photometric="minisblack", planarconfig="contig",
                     extrasamples=["unassalpha"])  # fmt: skip
    tifffile.imwrite(tmp_path / "grey.tif", rgba[..., 0])
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    (tmp_path / "not.tif").write_bytes(b"II*\x00no")
    assert all(look_at_channels(path) is None for path in tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_first_convolution_gives_what_the_pretrained_one_gave(channels):
    """Of channels that are alike: of grey in three colours, and of colours that come again."""
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3)
    picture = torch.rand(1, 1, 8, 8)
    new = adapted(weight, channels)
    assert new.shape == (4, channels, 3, 3)
    if channels == 1:
        before = torch.nn.functional.conv2d(picture.expand(1, 3, 8, 8), weight)
        assert torch.allclose(torch.nn.functional.conv2d(picture, new), before, atol=1e-5)
    assert torch.allclose(new[:, 1 % channels] * channels / 3, weight[:, 1]) or channels == 1
    body, _ = make_body("resnet18", "frozen")
    take_channels(body, channels)
    image = torch.randint(0, 256, (channels, 64, 64), dtype=torch.uint8)
    assert body(normalise(image)[None])["32"].shape == (1, 512, 2, 2)


@pytest.mark.parametrize("channels", [1, 2, 5, 7])
def test_channels_are_changed_and_moved_one_like_another(channels):
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 50, 1), dtype=np.uint8), channels, axis=2)
    warp = Warp(30, 44, flip_x=True, angle=20.0, window=(2, 3, 24, 32))
    moved = warp.image(pixels)
    same = warp.image(np.repeat(pixels[:, :, :1], 3, axis=2))
    assert moved.shape == (24, 32, channels)
    assert all(np.array_equal(moved[..., n], same[..., 0]) for n in range(channels))
    for size in ((80, 90), (10, 12)):
        other = resize_rgb(pixels, *size)
        three = resize_rgb(np.repeat(pixels[:, :, :1], 3, axis=2), *size)
        assert all(np.array_equal(other[..., n], three[..., 0]) for n in range(channels))
    changed = augment_pixels(np.random.default_rng(1), STRENGTHS["heavy"], pixels)
    assert changed.shape == pixels.shape


def test_grey_is_kept():
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert np.array_equal(to_grey(grey)[:, :, 0], grey[:, :, 0])


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A dataset of pictures of five channels of 16 bits; what is to be found is in the last one alone."""
    from segkit.config.convert import ConvertConfig
    from segkit.conversion.convert import convert

    folder = tmp_path_factory.mktemp("channels")
    rng = np.random.default_rng(0)
    for number in range(6):
        values = rng.integers(0, 50, (64, 64, 5)).astype(np.uint16)
        y, x = rng.integers(4, 30, 2)
        values[y : y + 24, x : x + 24, 4] += 20000
        write(folder / "source/images" / str(number), values, "contig")
        mask = np.zeros((64, 64), np.uint8)
        mask[y : y + 24, x : x + 24] = 1
        (folder / "source/masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "source/masks" / f"{number}.png")
    summary = convert(ConvertConfig(src=str(folder / "source"), out=folder / "d", source_format="idmask", val=0.34))
    assert summary is not None
    return folder


def options(**more):
    return {"model": "unet", "backbone": "mobilenet_v3_small", "schedule": "constant", "warmup": 0} | more


@pytest.fixture(scope="module")
def run(cells):
    return train(config(cells / "d", cells / "runs", steps=2, name="r", **options())).run


def test_channels_are_in_the_card_and_the_config(run):
    content = torch.load(run / "last.pt", weights_only=True)
    card = ModelCard.from_plain(json.loads(json.dumps(content["card"])))
    assert card.channels == 5
    assert card.levels.channels[4][1] > 20000 > 100 > card.levels.channels[0][1]
    assert load_config(TrainConfig, run / "config.toml").channels == 5
    assert content["model"]["body.0.0.weight"].shape[1] == 5


def test_a_run_with_channels_resumes_to_the_bit(run, cells):
    part_of_it = train(config(cells / "d", cells / "runs", steps=1, name="part", **options())).run
    train(TrainConfig(resume=str(part_of_it), steps=2))
    one, other = (torch.load(each / "last.pt", weights_only=True)["model"] for each in (run, part_of_it))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_roads_of_a_run_with_channels(run, cells, segkit, here):
    assert segkit("export", run, "--out", "m.onnx", "--tolerance", 0.01).code == 0
    found = []
    for model, more in ((run, ["--tile", 48]), ("m.onnx", ["--tta", "flips"])):
        scored = segkit("eval", model, "--data", cells / "d", "--device", "cpu", "--out", f"e{len(found)}", "--json")
        assert scored.code == 0, scored.err
        found.append(json.loads(scored.out)["semantic"]["mIoU"])
        outcome = segkit("predict", cells / "d/images/0.tif", "--model", model, "--device", "cpu", *more, "--score", 0,
                         "--out", f"p{len(found)}")  # fmt: skip
        assert outcome.code == 0, outcome.err
    assert found[0] == pytest.approx(found[1], abs=1e-3)


@pytest.mark.slow
def test_the_memory_of_a_run_with_channels_is_estimated(run, segkit, here):
    assert segkit("memprofile", run, "--fit", "--vram", "8GiB", "--out", "fit").code == 0


def test_a_picture_of_other_channels_is_refused_in_prediction(run, segkit, here):
    Image.new("RGB", (64, 64)).save("a.png")
    write(here / "b", drawn(4), "contig")
    outcome = segkit("predict", "a.png", "b.tif", "--model", run, "--device", "cpu")
    assert outcome.code == 1
    assert "has 4 channels, and not 5" in outcome.err


@pytest.mark.slow
def test_weights_of_three_channels_are_adapted(run, cells, tmp_path):
    three = train(config(cells / "d", tmp_path, steps=1, name="three", **options(channels=3))).run
    weights = str(three / "last.pt")
    five = train(config(cells / "d", tmp_path, steps=1, name="five", **options(weights=weights, lr=0.0))).run
    before, after = (torch.load(each / "last.pt", weights_only=True)["model"] for each in (three, five))
    assert torch.allclose(after["body.0.0.weight"], adapted(before["body.0.0.weight"], 5))
    again = config(cells / "d", tmp_path, steps=1, name="again", **options(weights=str(run / "last.pt"), lr=0.0))
    assert torch.equal(
        torch.load(train(again).run / "last.pt", weights_only=True)["model"]["body.0.0.weight"],
        torch.load(run / "last.pt", weights_only=True)["model"]["body.0.0.weight"],
    )


@pytest.mark.slow
def test_grey_is_one_channel_where_it_is_asked_for(dataset, tmp_path, segkit, here):
    made = train(config(dataset, tmp_path, steps=1, **options(channels=1))).run
    assert ModelCard.from_plain(torch.load(made / "last.pt", weights_only=True)["card"]).channels == 1
    assert segkit("export", made, "--out", "m.onnx", "--tolerance", 0.01).code == 0
    for model in (made, "m.onnx"):
        assert segkit("eval", model, "--data", dataset, "--device", "cpu", "--out", "e").code == 0


def test_channels_that_no_picture_has_are_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="--channels 4: no image of"):
        train(config(dataset, tmp_path, steps=1, **options(channels=4)))
    with pytest.raises(ConfigError, match="--channels is for --model unet"):
        TrainConfig(channels=4)


def test_a_card_without_channels_is_of_three():
    assert Levels().num_channels == 3
