"""Every format: written, run in its own runtime, compared, kept; and a model for predict and eval afterwards."""

import json
import zipfile

import cv2
import numpy as np
import pytest
import torch
from random_models import card_of, checkpoint, sharp

from segkit.errors import InputError
from segkit.exporting.about import metadata_of
from segkit.exporting.detector_graph import DetectorGraph
from segkit.exporting.graphs import graph_of
from segkit.exporting.onnx import quiet
from segkit.exporting.suppression import suppress
from segkit.exporting.write import write
from segkit.models.safetensors_file import read_metadata, read_safetensors, write_safetensors
from segkit.runtime.torch_private import export_with_sides_of_one
from segkit.runtimes.files import SUFFIXES, open_exported

slow = pytest.mark.slow
ROADS = [
    pytest.param("maskrcnn", "onnx", marks=slow),  # fast in test_pipeline.py
    ("unet", "safetensors"),
    pytest.param("unet", "openvino", marks=slow),
    pytest.param("fasterrcnn", "torchscript", marks=slow),
    pytest.param("unet", "onnx", marks=slow),
    pytest.param("fasterrcnn", "onnx", marks=slow),
    pytest.param("unet", "torchscript", marks=slow),
    pytest.param("maskrcnn", "torchscript", marks=slow),
    pytest.param("unet", "pt2", marks=slow),
    pytest.param("maskrcnn", "pt2", marks=slow),  # a minute
    pytest.param("fasterrcnn", "pt2", marks=slow),
    pytest.param("maskrcnn", "safetensors", marks=slow),
    pytest.param("fasterrcnn", "safetensors", marks=slow),
    pytest.param("maskrcnn", "openvino", marks=slow),
    pytest.param("fasterrcnn", "openvino", marks=slow),
    pytest.param("unet", "onnx --exporter dynamo", marks=slow),
    pytest.param("maskrcnn", "onnx --exporter dynamo", marks=slow),  # two minutes
    pytest.param("fasterrcnn", "onnx --exporter dynamo", marks=slow),
]


@pytest.fixture
def picture(here):
    noise = np.random.default_rng(1).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    cv2.imwrite(str(here / "a.png"), cv2.resize(noise, (90, 60), interpolation=cv2.INTER_CUBIC))
    return here / "a.png"


@pytest.mark.parametrize(("name", "asked"), ROADS)
def test_a_file_predicts_what_its_checkpoint_does(segkit, here, picture, name, asked):
    kind, *exporter = asked.split()
    if kind == "openvino":
        pytest.importorskip("openvino")
    if exporter:
        pytest.importorskip("onnxscript")
    source = checkpoint(here / "m.pt", card_of(name))
    outcome = segkit("export", source, "--format", kind, *exporter, "--json")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    file = here / f"model{SUFFIXES[kind]}"
    assert summary["out"] == str(file)
    assert summary["batches"]
    assert any("third of three" in each["picture"] for each in summary["differences"])
    found = []
    for model in (source, file):
        out = here / f"of-{model.name}"
        options = ("--trust",) if kind in ("torchscript", "pt2") else ()
        outcome = segkit("predict", picture, "--model", model, "--score", 0.05, "--out", out, *options)
        assert outcome.code == 0, outcome.err
        results = json.loads((out / "results.json").read_text())
        found.append(sorted((each["category_id"], each["score"]) for each in results))
    assert np.allclose(*found, atol=1e-3)
    assert found[0]


@pytest.mark.parametrize("format", ["torchscript", "pt2"])
def test_a_file_that_is_a_program_is_not_run_unless_its_maker_is_trusted(segkit, here, picture, format):
    with zipfile.ZipFile(here / f"m{SUFFIXES[format]}", "w") as archive:
        archive.writestr("m/extra/segkit", json.dumps(card_of("unet").to_plain()))
        archive.writestr("m/extra/segkit_export", json.dumps({"input": "images", "outputs": ["probabilities"]}))
    outcome = segkit("predict", picture, "--model", here / f"m{SUFFIXES[format]}")
    assert outcome.code == 1
    assert "is a program, which may do anything that you may do" in outcome.err
    assert "--trust" in outcome.err
    outcome = segkit("predict", picture, "--model", here / f"m{SUFFIXES[format]}", "--trust")
    assert "a damaged file" in outcome.err


def test_the_name_of_a_file_must_tell_its_format(segkit, here):
    outcome = segkit("export", checkpoint(here / "m.pt", card_of("unet")), "--format", "pt2", "--out", "m.onnx")
    assert outcome.code == 1
    assert "files of the format pt2 end with .pt2" in outcome.err
    assert not (here / "m.onnx").exists()


@slow
def test_half_of_the_size_and_nearly_the_same_predictions(segkit, here):
    source = checkpoint(here / "m.pt", card_of("unet"))
    assert segkit("export", source, "--format", "safetensors", "--out", "whole.safetensors").code == 0
    outcome = segkit("export", source, "--format", "safetensors", "--half")
    assert outcome.code == 0, outcome.err
    assert (here / "model.safetensors").stat().st_size < 0.51 * (here / "whole.safetensors").stat().st_size
    assert all(
        value.dtype in (torch.float16, torch.int64) for value in read_safetensors(here / "model.safetensors").values()
    )


def test_half_is_refused_where_a_format_has_none(segkit, here):
    outcome = segkit("export", "--format", "pt2", "--half")
    assert outcome.code == 1
    assert "--half: files of the format pt2" in outcome.err


def test_a_file_tells_its_categories_thresholds_and_licence(here):
    (here / "config.toml").write_text('weights = "coco"\n')
    card = card_of("maskrcnn")
    graph = graph_of(card.build().eval(), card)
    about = json.loads(metadata_of(here / "best.pt", card, graph, "fp32")["segkit_export"])
    assert [(label, each["name"]) for label, each in about["categories"].items()] == [("1", "a"), ("2", "b")]
    assert about["thresholds"] == {
        "predict_score": 0.5, "score": 0.05, "nms_iou": 0.5, "most_instances": 20, "mask_probability": 0.5,
    }  # fmt: skip
    assert about["preprocessing"]["shorter_side"] == 64
    assert about["weights"] == {
        "from": "coco", "licence": "PyTorch's torchvision, BSD 3-Clause; the terms of COCO may hold as well",
    }  # fmt: skip


def test_safetensors_hold_what_was_written(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.tensor(5), "c": torch.zeros(0, 2), "d": torch.ones(3).half()}
    write_safetensors(tmp_path / "m.safetensors", tensors, {"k": "v"})
    back = read_safetensors(tmp_path / "m.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], value) and back[name].dtype is value.dtype for name, value in tensors.items())
    assert read_metadata(tmp_path / "m.safetensors") == {"k": "v"}


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0[1,2]", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.safetensors: "):
        open_exported(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("batch", "height", "width"), [(3, 90, 130), (1, 1, 97), (2, 33, 64)])
def test_a_graph_finds_what_the_model_finds(batch, height, width):
    model = sharp(card_of("maskrcnn"))
    images = torch.randint(
        256, (batch, 3, height, width), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    with torch.inference_mode():
        *found, image = DetectorGraph(model)(images)
        for number, truth in enumerate(model(list(images))):
            here = [value[image == number] for value in found]
            assert torch.allclose(here[2], truth["scores"], atol=1e-5)
            assert len(truth["scores"])
            # Of equal scores, either may come first.
            for one, other in zip(here, (truth[k] for k in ("boxes", "labels", "scores", "masks")), strict=True):
                sums = [each.flatten(1).double().sum(1) if each.dim() > 1 else each.double() for each in (one, other)]
                assert torch.allclose(sums[0].sort().values, sums[1].sort().values, atol=1e-2)


def test_litert_is_for_unets_only(segkit, here):
    outcome = segkit("export", checkpoint(here / "m.pt", card_of("fasterrcnn")), "--format", "litert")
    assert outcome.code == 1
    assert "--format litert: for U-Nets only" in outcome.err


def test_a_litert_file_predicts_what_its_checkpoint_does(segkit, here, picture):
    pytest.importorskip("litert_torch")
    source = checkpoint(here / "m.pt", card_of("unet"))
    outcome = segkit("export", source, "--format", "litert", "--json")
    assert outcome.code == 0, outcome.err
    assert not json.loads(outcome.out)["batches"]
    outcome = segkit("predict", picture, "--model", "model.tflite")
    assert "model.tflite: takes images of 240x320 pixels, not of 60x90" in outcome.err
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    cv2.imwrite("b.png", noise)
    maps = []
    for model in ("m.pt", "model.tflite"):
        outcome = segkit("predict", "b.png", "--model", model, "--out", f"of-{model}")
        assert outcome.code == 0, outcome.err
        maps.append(cv2.imread(f"of-{model}/classmap/b.png", cv2.IMREAD_UNCHANGED))
    assert (maps[0] == maps[1]).mean() > 0.999


@slow
@pytest.mark.parametrize("format", ["onnx", "torchscript", "openvino", "pt2"])
def test_pictures_without_instances_and_some_with_in_one_batch(tmp_path, format):
    """The heads get no regions at all; and an image without instances has its place in a batch."""
    if format == "openvino":
        pytest.importorskip("openvino")
    card = card_of("maskrcnn")
    model = sharp(card)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[0] += 12  # background, but for what is very certain
    graph = graph_of(model, card)
    file = tmp_path / f"m{SUFFIXES[format]}"
    write(format, graph, metadata_of(file, card, graph, "fp32"), file, half=False, size=(0, 0), exporter="torchscript")
    exported = open_exported(file, trust=True)
    noise = torch.randint(256, (3, 64, 96), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    plain = torch.full((3, 64, 96), 114, dtype=torch.uint8)
    for images in ([plain], [plain, noise, plain], [noise]):
        with torch.inference_mode():
            truth = [model([image])[0] for image in images]
        found = exported(images)
        assert [len(each["boxes"]) for each in found] == [len(each["boxes"]) for each in truth]
        assert all(each["masks"].shape[1:] == (28, 28) for each in found)
    assert len(truth[0]["boxes"])
    assert not len(model([plain])[0]["boxes"])


def test_a_program_of_suppression_keeps_one_box_or_none():
    """torchvision tells torch.export that two or more are kept."""

    class Suppression(torch.nn.Module):
        def forward(self, boxes, scores):
            return suppress(boxes, scores, 0.5, 0.1, 10)

    boxes = torch.tensor([[[0.0, 0, 9, 9], [1, 0, 9, 9], [20, 20, 30, 30]]]).repeat(2, 1, 1)
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.3, 0.4, 0.2]])
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with quiet(), export_with_sides_of_one():
        program = torch.export.export(Suppression(), (boxes, scores), dynamic_shapes=(free, free)).module()
    for rows in ([[1, 0, 1], [0, 1, 1]], [[1, 0, 0]], [[0, 0, 0]]):
        expected = torch.tensor(rows, dtype=torch.bool)
        found = scores[: len(rows)].clone()
        if len(rows) == 1:
            found = torch.where(expected, found, torch.zeros(()))
        assert torch.equal(program(boxes[: len(rows)], found), expected)
