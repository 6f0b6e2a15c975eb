"""A picture has one prediction, that of the model for it alone, whatever is predicted with it."""

from functools import lru_cache
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import SETTINGS, card_of, sharp

from segkit.choices import ModelName
from segkit.exporting.about import metadata_of
from segkit.exporting.compare import compare
from segkit.exporting.graphs import graph_of
from segkit.exporting.onnx import write_onnx
from segkit.inference.adjust import as_tensors
from segkit.inference.batches import BatchPredictor
from segkit.loading.sampler import evaluation_batches
from segkit.models.sizes import padded_frame
from segkit.progress import SILENT
from segkit.runtimes.onnx_model import OnnxModel

SOME = [("maskrcnn", "group"), ("fasterrcnn", "frozen"), ("unet", "batch"), ("unet", "group"), ("pointrend", "batch"),
        ("condinst", "batch"), ("solov2", "batch"), ("rfdetr", "frozen")]  # fmt: skip
ALL = [
    (model, norm)
    for model in (*get_args(ModelName), "pointrend")
    for norm in (("frozen",) if model == "rfdetr" else ("batch", "frozen", "group"))
]
EXPORTED = [
    ("maskrcnn", "group"),
    ("second version", "batch"),
    ("unet", "group"),
    ("pointrend", "batch"),
    ("condinst", "batch"),
    ("solov2", "batch"),
    ("rfdetr", "frozen"),
]
ROUNDING = 1e-3
CPU = torch.device("cpu")

sides = st.one_of(st.integers(1, 70), st.sampled_from([1, 31, 32, 33, 64, 65, 97]))
sizes = st.one_of(
    st.tuples(sides, sides),
    st.tuples(st.integers(1, 3), st.integers(90, 200)),  # wide
    st.tuples(st.integers(90, 200), st.integers(1, 3)),  # tall
)


def picture(seed, size):
    """Smooth blobs: noise alone looks the same everywhere."""
    rng = np.random.default_rng([seed, *size])
    coarse = torch.from_numpy(rng.integers(0, 256, (1, 3, 6, 6)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")[0].byte()


def predicted(module, images, batch):
    predictor = BatchPredictor(module, CPU, batch, SILENT)
    out = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            out += predictor(part, [str(i) for i in range(len(part))])
    return out


def with_room_for(module, room):
    def call(images):
        if len(images) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return module(images)

    return call


def assert_alike(images, alone, together):
    for number, (image, one, other) in enumerate(zip(images, alone, together, strict=True)):
        other = {k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in other.items()}
        if "semantic" in one:
            assert (one["semantic"] != other["semantic"]).sum() <= 1, f"picture {number} of {tuple(image.shape)}"
        found = compare(str(number), image, one, other, tolerance=ROUNDING, cap=SETTINGS.detections)
        assert found.unmatched == 0, (tuple(image.shape), found)
        assert max(found.boxes, found.scores) < ROUNDING, (tuple(image.shape), found)
        assert "semantic" in one or found.masks < ROUNDING, (tuple(image.shape), found)


@lru_cache(maxsize=1)
def model_of(kind):
    return sharp(card_of(*kind))


def check(kind, shapes, batch, room):
    module = model_of(kind)
    images = [picture(number, size) for number, size in enumerate(shapes)]
    alone = predicted(module, images, 1)
    assert_alike(images, alone, predicted(with_room_for(module, room), images, batch))


batches = {
    "shapes": st.lists(sizes, min_size=2, max_size=8),
    "batch": st.integers(2, 8),
    "room": st.integers(1, 8),  # images for which there is memory
}


@pytest.mark.parametrize("kind", SOME, ids="-".join)
@settings(max_examples=2, derandomize=True)
@given(**batches)
def test_a_prediction_does_not_depend_on_the_batch(kind, shapes, batch, room):
    check(kind, shapes, batch, room)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL, ids="-".join)
@settings(max_examples=25)
@given(**batches)
def test_a_prediction_of_any_model_does_not_depend_on_the_batch(kind, shapes, batch, room):
    check(kind, shapes, batch, room)


@pytest.mark.parametrize("kind", [("maskrcnn", "group"), ("unet", "batch"), ("unet", "group")], ids="-".join)
def test_a_small_picture_beside_a_large_one(kind):
    module = sharp(card_of(*kind))
    images = [picture(1, (48, 50)), picture(2, (160, 64)), picture(3, (48, 160))]
    assert_alike(images, predicted(module, images, 1), predicted(module, images, 3))


@pytest.mark.parametrize("kind", EXPORTED, ids="-".join)
def test_the_exported_file_predicts_what_a_batch_predicts(kind, tmp_path):
    card = card_of(*kind)
    module = sharp(card)
    graph = graph_of(module, card)
    write_onnx(graph, metadata_of(tmp_path / "m.pt", card, graph, "fp32"), tmp_path / "m.onnx")
    exported = OnnxModel(tmp_path / "m.onnx")
    images = [picture(n, size) for n, size in enumerate([(64, 64), (33, 97), (1, 1), (1, 130), (150, 2), (95, 64)])]
    assert_alike(images, predicted(module, images, 6), [as_tensors(each) for each in exported(images)])


def test_only_pictures_of_one_frame_go_through_the_model_together():
    """So that a wide picture beside a tall one does not need the memory of a picture as wide and as tall."""
    calls = []

    def module(images):
        calls.append({tuple(-(-side // 32) for side in image.shape[-2:]) for image in images})
        return [{"scores": image.float().sum()[None]} for image in images]

    images = [torch.ones(3, *size, dtype=torch.uint8) for size in [(1, 500), (500, 1), (8, 490), (1, 500)]]
    found = predicted(module, images, 4)
    assert calls == [{(1, 16)}, {(16, 1)}]
    assert [int(each["scores"]) for each in found] == [int(image.sum()) for image in images]


@given(st.lists(sizes, min_size=1, max_size=20), st.integers(1, 8), st.integers(1, 3))
def test_an_evaluation_sees_every_picture_once_and_frames_as_neighbours(shapes, batch, ranks):
    frames = [padded_frame(*size) for size in shapes]
    by_rank = [evaluation_batches(frames, batch, rank, ranks) for rank in range(ranks)]
    assert sorted(key.image for batches in by_rank for keys in batches for key in keys) == list(range(len(shapes)))
    for batches in by_rank:
        assert all(len(keys) == batch for keys in batches[:-1])
        in_order = [frames[key.image] for keys in batches for key in keys]
        changes = sum(one != other for one, other in pairwise(in_order))
        assert changes == len(set(in_order)) - 1 if in_order else True
