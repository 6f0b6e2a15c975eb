"""A picture has one prediction, that of the model for it alone, whatever is predicted with it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import SETTINGS, card_of, sharp

from segkit.export.compare import compare
from segkit.export.onnx import write_onnx
from segkit.export.onnx_model import OnnxModel
from segkit.inference.batches import BatchPredictor
from segkit.progress import SILENT

KINDS = [(model, norm) for model in ("maskrcnn", "fasterrcnn", "unet") for norm in ("batch", "frozen", "group")]
ROUNDING = 1e-3
CPU = torch.device("cpu")

sides = st.one_of(st.integers(1, 70), st.sampled_from([1, 31, 32, 33, 64, 65, 97]))
sizes = st.one_of(
    st.tuples(sides, sides),
    st.tuples(st.integers(1, 3), st.integers(90, 200)),  # wide
    st.tuples(st.integers(90, 200), st.integers(1, 3)),  # tall
)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def model(request):
    return sharp(card_of(*request.param))


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


@settings(max_examples=3, derandomize=True)
@given(st.lists(sizes, min_size=2, max_size=8), st.integers(2, 8), st.integers(1, 8))
def test_a_prediction_does_not_depend_on_the_batch(model, shapes, batch, room):
    images = [picture(number, size) for number, size in enumerate(shapes)]
    alone = predicted(model, images, 1)
    assert_alike(images, alone, predicted(with_room_for(model, room), images, batch))


@pytest.mark.parametrize("kind", [("maskrcnn", "group"), ("unet", "batch"), ("unet", "group")], ids="-".join)
def test_a_small_picture_beside_a_large_one(kind):
    module = sharp(card_of(*kind))
    images = [picture(1, (48, 50)), picture(2, (160, 64)), picture(3, (48, 160))]
    assert_alike(images, predicted(module, images, 1), predicted(module, images, 3))


@pytest.mark.parametrize("kind", [("maskrcnn", "group"), ("fasterrcnn", "batch"), ("unet", "group")], ids="-".join)
def test_the_exported_file_predicts_what_a_batch_predicts(kind, tmp_path):
    card = card_of(*kind)
    module = sharp(card)
    write_onnx(module, card, tmp_path / "m.onnx")
    exported = OnnxModel(tmp_path / "m.onnx")
    images = [picture(n, size) for n, size in enumerate([(64, 64), (33, 97), (1, 1), (1, 130), (150, 2), (95, 64)])]
    assert_alike(images, predicted(module, images, 6), exported(images))


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
