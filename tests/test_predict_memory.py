"""``predict`` when memory runs out: fewer pictures at once, then tiles, with the same answers; and it says so."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from drawn_discs import disc_model, draw_discs, save
from random_models import card_of, checkpoint

from segkit.data.masks import rle_area
from segkit.errors import ConfigError
from segkit.formats.coco.file import read_results
from segkit.inference.model import load
from segkit.inference.what_fits import measure
from segkit.runtime.available import left_in_groups

DISCS = [(30, 40, 20, 1), (150, 60, 25, 2), (100, 150, 40, 1), (230, 180, 20, 2), (228, 30, 18, 1)]


@pytest.fixture
def scene(here):
    save(here / "in/a.png", draw_discs(220, 260, DISCS))
    save(here / "in/b.png", draw_discs(100, 120, [(50, 50, 20, 1)]))
    return here


def with_memory_for(model, pixels):
    """The model, for which images of more pixels do not fit into memory."""

    def limited(function):
        def call(images):
            if sum(image.shape[-1] * image.shape[-2] for image in images) > pixels:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return function(images)

        return call

    return replace(model, predict=limited(model.predict), maps=model.maps and limited(model.maps))


def areas(out):
    results = read_results(out / "results.json")
    return sorted((each.image_id, each.category_id, rle_area(each.segmentation)) for each in results)


def run(segkit, monkeypatch, model, out, *options):
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    return segkit("predict", "in", "--score", 0.1, "--format", "coco", "--device", "cpu", "--out", out, *options)


@pytest.mark.parametrize("unet", [False, True], ids=["detector", "unet"])
def test_a_picture_that_does_not_fit_is_predicted_in_tiles(segkit, scene, monkeypatch, unet):
    model = disc_model(scene / "m.pt", unet=unet)
    assert run(segkit, monkeypatch, model, scene / "whole").code == 0
    outcome = run(segkit, monkeypatch, with_memory_for(model, 20_000), scene / "tiles")
    assert outcome.code == 0, outcome.err
    assert areas(scene / "tiles") == areas(scene / "whole")
    assert len(areas(scene / "whole")) == 6
    assert "out of memory while predicting a.png; going on in tiles of 130 pixels" in outcome.err
    assert "a.png: predicted in tiles of 130 pixels" in outcome.err
    assert "b.png: predicted in tiles" not in outcome.err


def test_tiles_that_do_not_fit_become_smaller_ones(segkit, scene, monkeypatch):
    model = with_memory_for(disc_model(scene / "m.pt"), 15_000)
    outcome = run(segkit, monkeypatch, model, scene / "p", "--tile", 200, "--batch", 1)
    assert outcome.code == 0, outcome.err
    assert "going on in tiles of 100 pixels" in outcome.err
    assert "a.png: predicted in tiles of 100 pixels" in outcome.err
    assert len(areas(scene / "p")) == 6


def test_where_even_small_tiles_do_not_fit_it_ends_with_one_message(segkit, scene, monkeypatch):
    outcome = run(segkit, monkeypatch, with_memory_for(disc_model(scene / "m.pt"), 10), scene / "p")
    assert outcome.code == 1
    assert "error: out of memory while predicting a.png" in outcome.err
    assert "also in tiles" in outcome.err
    assert "Traceback" not in outcome.err


def test_pictures_as_large_are_not_tried_whole_again(segkit, scene, monkeypatch):
    for number in range(3):
        save(scene / f"in/c{number}.png", draw_discs(220, 260, DISCS))
    model = disc_model(scene / "m.pt")
    tried = []

    def counting(images):
        tried.append(max(np.prod(image.shape[-2:]) for image in images))
        return model.predict(images)

    limited = with_memory_for(replace(model, predict=counting), 20_000)
    outcome = run(segkit, monkeypatch, limited, scene / "p", "--batch", 1)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("trying once more") <= 2  # of the first one
    assert len(areas(scene / "p")) == 21


@pytest.mark.parametrize(("unet", "left"), [(False, 130_000), (True, 500_000)], ids=["detector", "unet"])
def test_auto_makes_tiles_where_the_memory_that_is_left_asks_for_them(segkit, scene, monkeypatch, unet, left):
    model = disc_model(scene / "m.pt", unet=unet)
    assert run(segkit, monkeypatch, model, scene / "whole", "--tile", "auto").code == 0
    monkeypatch.setattr("segkit.inference.what_fits.available_memory", lambda _: left)
    outcome = run(segkit, monkeypatch, model, scene / "tiles", "--tile", "auto")
    assert outcome.code == 0, outcome.err
    assert "a.png: predicted in tiles of 130 pixels" in outcome.err
    assert "a.png: tiles are as small as memory asks for: whole it needs about " in outcome.err
    assert "b.png: predicted in tiles" not in outcome.err
    assert areas(scene / "tiles") == areas(scene / "whole")
    outcome = run(segkit, monkeypatch, model, scene / "none", "--tile", "none")
    assert "in tiles" not in outcome.err


def test_what_a_model_needs_is_measured(tmp_path):
    found = measure(load(checkpoint(tmp_path / "m.pt", card_of("unet")), torch.device("cpu")))
    assert found.each > 3 * 4  # at least its image as floats
    assert found.pixels == max(64 * 64, int((0.8 * found.left - found.always) / found.each))
    assert found.left <= psutil.virtual_memory().total


def test_control_groups_limit_what_is_left(tmp_path):
    def group(path, **values):
        folder = tmp_path / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (folder / name.replace("__", ".")).write_text(f"{value}\n")

    group("2/a/b", memory__max="max", memory__current=5, memory__stat="anon 5\ninactive_file 0")
    group("2/a", memory__max=1000, memory__current=400, memory__stat="anon 300\ninactive_file 100")
    (tmp_path / "two").write_text("0::/a/b\n")
    assert list(left_in_groups(tmp_path / "2", tmp_path / "two")) == [700]
    group("1/memory/c", memory__limit_in_bytes=900, memory__usage_in_bytes=500, memory__stat="total_inactive_file 50")
    group("1/memory", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=1, memory__stat="")
    (tmp_path / "one").write_text("5:cpu:/\n4:memory:/c\n0::/\n")
    assert list(left_in_groups(tmp_path / "1", tmp_path / "one")) == [450]
    assert list(left_in_groups(tmp_path / "none", tmp_path / "none")) == []


def test_vram_limits_what_the_allocator_of_the_gpu_gives_out(scene, monkeypatch):
    limits = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=24 * 2**30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: limits.append(given))
    monkeypatch.setattr("segkit.inference.torch_model.load_checkpoint", lambda path, device: limits.append(path) or {})
    monkeypatch.setattr("segkit.inference.torch_model.model_in", lambda *given: (None, None))
    gpu = torch.device("cuda", 1)
    path = scene / "m.pt"
    path.touch()
    load(path, gpu, vram=6 * 2**30)
    assert limits == [(0.25, gpu), path]  # before the weights are there
    (scene / "m.onnx").touch()
    with pytest.raises(ConfigError, match=r"--vram: m\.onnx"):
        load(scene / "m.onnx", gpu, vram=6 * 2**30)
    with pytest.raises(ConfigError, match="--vram: a GPU of 6 bytes"):
        load(path, gpu, vram=6)

    assert load(path, torch.device("cpu"), vram=6 * 2**30).notes == (
        "warning: --vram limits the memory of a GPU, and there is none in use",
    )
