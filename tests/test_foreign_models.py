"""Models of other origin: a file that claims to be segkit's and is not gets one clear line."""

import json

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from random_models import card_of, checkpoint
from test_predict_files import draw


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
