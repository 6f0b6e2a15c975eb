"""Models of other origin: a file that claims to be segkit's and is not gets one clear line."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from random_models import card_of, checkpoint
from test_predict_files import draw

from segkit.errors import InputError
from segkit.models.card import read_card
from segkit.runtimes.exported import ABOUT_KEY, CARD_KEY
from segkit.runtimes.files import open_exported


def save_graph(path, card):
    """An ONNX file that returns its input, with a text in the place of a model card."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"segkit": card})
    onnx.save(model, str(path))


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ("{}", "its model card cannot be read"),
        ("x{", "its model card cannot be read"),
        ("[]", "its model card cannot be read"),
        ('{"settings": 1}', "its model card cannot be read"),
        (json.dumps(card_of("unet").to_plain()), "its graph is not that of its model card"),
    ],
)
def test_an_onnx_file_with_another_card_or_graph_is_refused(segkit, here, card, why):
    draw(here / "a.png")
    save_graph(here / "m.onnx", card)
    outcome = segkit("predict", "a.png", "--model", "m.onnx")
    assert outcome.code == 1
    assert f"error: m.onnx: {why}" in outcome.err
    assert not (here / "predictions").exists()


def spoilt(*keys, value):
    """The card of a U-Net as JSON, with another value in one place."""
    card = card_of("unet").to_plain()
    part = card
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    return json.dumps(card)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["model"], "other"),
        (["model"], "maskrcnn"),
        (["norm"], 3),
        (["framing", "size"], "64"),
        (["framing", "size"], 0),
        (["framing", "max_size"], 10**12),
        (["settings", "detections"], -1),
        (["settings", "anchor_sizes", 0], 10**12),
        (["settings", "fpn_levels"], [[2]]),
        (["categories"], []),
        (["categories", 0, "name"], None),
        (["categories", 0, "id"], [1]),
        (["levels"], {"integer": [0, "x"]}),
        (["levels"], {"channels": []}),
        (["unet", "instances"], 1),
        (["panoptic"], {"stuff": ["a"]}),
        (["widths"], [["a", 1]]),
    ],
)
def test_a_card_with_a_value_that_no_model_has_is_refused(keys, value):
    read_card(json.loads(spoilt("loss", value="dice")), Path("m.onnx"))
    with pytest.raises(InputError, match=r"m\.onnx: its model card cannot be read"):
        read_card(json.loads(spoilt(*keys, value=value)), Path("m.onnx"))


def test_metadata_that_are_no_text_are_none(segkit, here):
    draw(here / "a.png")
    save_graph(here / "m.onnx", "x" * 50)
    path = here / "m.onnx"
    path.write_bytes(path.read_bytes().replace(b"x" * 50, b"\xe9" * 50))
    outcome = segkit("predict", "a.png", "--model", "m.onnx")
    assert outcome.code == 1
    assert "error: m.onnx: was not exported by segkit" in outcome.err


def save_labels(path, classes):
    """An ONNX file with the card of a U-Net of two categories, whose graph gives so many classes, all alike."""
    ends = [
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", 3, "h", "w"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["b", classes, "h", "w"]),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["one"] * classes, ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"segkit": json.dumps(card_of("unet").to_plain())})
    onnx.save(model, str(path))


@pytest.mark.parametrize(("classes", "code"), [(2, 1), (3, 0), (4, 1)])
def test_a_graph_with_other_classes_than_its_card_is_refused(segkit, here, classes, code):
    draw(here / "a.png")
    save_labels(here / "m.onnx", classes)
    outcome = segkit("predict", "a.png", "--model", "m.onnx")
    assert outcome.code == code
    assert ("m.onnx: its graph is not that of its model card" in outcome.err) == (code == 1)


@pytest.mark.parametrize("spoil", ["archive", "names"])
def test_a_program_with_a_damaged_archive_or_other_outputs_is_refused(here, spoil):
    card, about = json.dumps(card_of("unet").to_plain()), {"outputs": ["other"], "input": "images"}
    with zipfile.ZipFile(here / "m.torchscript", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"m/extra/{CARD_KEY}", card)
        archive.writestr(f"m/extra/{ABOUT_KEY}", json.dumps(about))
    path = here / "m.torchscript"
    if spoil == "archive":
        content = bytearray(path.read_bytes())
        content[60:120] = bytes(60)
        path.write_bytes(content)
    why = "or a damaged one" if spoil == "archive" else "its graph is not that of its model card"
    with pytest.raises(InputError, match=why):
        open_exported(path, trust=True)


def test_an_openvino_model_without_names_is_refused(here):
    openvino = pytest.importorskip("openvino")
    given = openvino.opset13.parameter([1, 3, 8, 8], np.uint8)
    model = openvino.Model([openvino.opset13.convert(given, "f32")], [given])
    model.set_rt_info(json.dumps(card_of("unet").to_plain()), [CARD_KEY])
    openvino.save_model(model, str(here / "m.xml"))
    (here / "m.bin").touch()
    with pytest.raises(InputError, match=r"m\.xml: (not an OpenVINO model|its graph is not that of its model card)"):
        open_exported(here / "m.xml")


@pytest.mark.parametrize("spoil", ["card", "weights", "model", "name"])
@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_checkpoint_that_does_not_fit_its_card_is_refused(segkit, here, spoil, command):
    draw(here / "a.png")
    content = torch.load(checkpoint(here / "m.pt", card_of("unet")), weights_only=True)
    if spoil == "card":
        content["card"] = {}
    elif spoil == "weights":
        del content["model"]["head.weight"]
    elif spoil == "model":
        content["model"] = [1]
    else:
        content["card"]["model"] = "other"
    torch.save(content, here / "m.pt")
    arguments = ("predict", "a.png", "--model", "m.pt") if command == "predict" else ("export", "m.pt")
    outcome = segkit(*arguments)
    assert outcome.code == 1
    assert "error: m.pt: its " in outcome.err
    assert not (here / "predictions").exists()
