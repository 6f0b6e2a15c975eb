"""A graph with a fault is refused; files of others read nothing outside their folder; a program without segkit."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper
from random_models import card_of, checkpoint

from segkit.config.export import ExportConfig
from segkit.errors import InputError, SegkitError
from segkit.exporting.check import check
from segkit.exporting.export import export
from segkit.exporting.pictures import images_for
from segkit.runs.checkpoint import load_model
from segkit.runtimes.foreign_onnx import check_onnx
from segkit.runtimes.onnx_model import OnnxModel

slow = pytest.mark.slow


def other_weights(proto):
    """One convolution of many, a fifth larger."""
    weights = [each for each in proto.graph.initializer if len(each.dims) == 4]
    chosen = weights[len(weights) // 2]
    chosen.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(chosen) * np.float32(1.2), chosen.name))


def corners_in_another_order(proto):
    """Boxes have y before x."""
    for node in proto.graph.node:
        for names in (node.output, node.input):
            for place, name in enumerate(names):
                if name == "boxes":
                    names[place] = "moved"
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 0, 3, 2]), "order"))
    proto.graph.node.append(helper.make_node("Gather", ["moved", "order"], ["boxes"], axis=1))


def other_threshold(proto):
    """Instances that overlap less are left out."""
    last = [node for node in proto.graph.node if node.op_type == "NonMaxSuppression"][-1]
    proto.graph.initializer.append(numpy_helper.from_array(np.array([0.1], np.float32), "looser"))
    last.input[3] = "looser"


def other_least_score(proto):
    last = [node for node in proto.graph.node if node.op_type == "NonMaxSuppression"][-1]
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1.0], np.float32), "higher"))
    last.input[4] = "higher"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A checkpoint of a Mask R-CNN, and its ONNX file. Read only."""
    folder = tmp_path_factory.mktemp("exported")
    source = checkpoint(folder / "m.pt", card_of("maskrcnn"))
    export(ExportConfig(model=source))
    return source, folder / "model.onnx"


@pytest.mark.parametrize(
    "fault", [
        other_weights, other_threshold, pytest.param(corners_in_another_order, marks=slow),
        pytest.param(other_least_score, marks=slow),
    ],
)  # fmt: skip
def test_a_graph_with_a_fault_is_refused(exported, tmp_path, fault):
    source, file = exported
    model, card = load_model(source, torch.device("cpu"))
    images = images_for(None, card)[0][:1]
    proto = onnx.load(str(file))
    fault(proto)
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(SegkitError, match=r"m\.onnx: differs from .* on made-up blobs"):
        check(model, OnnxModel(tmp_path / "m.onnx"), images, 1e-3, (source, tmp_path / "m.onnx"))


def graph_with(location, **more):
    """A graph whose only weight is in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": location} | more).items():
        weight.external_data.add(key=key, value=value)
    node = helper.make_node("Add", ["image", "w"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("image", "y")]
    return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [weight]))


@pytest.mark.parametrize("location", ["/etc/hostname", "../w.bin", "a/../../w.bin", "link/w.bin", ""])
def test_weights_outside_the_folder_of_a_file_are_not_read(tmp_path, location):
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path)
    onnx.save(graph_with(location), str(folder / "m.onnx"))
    with pytest.raises(InputError, match="which is not in its folder"):
        check_onnx(folder / "m.onnx")
    with pytest.raises(InputError, match="which is not in its folder"):
        OnnxModel(folder / "m.onnx")


def test_weights_that_are_cut_off_are_said(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    onnx.save(graph_with("w.bin", offset="0", length="16"), str(tmp_path / "m.onnx"))
    check_onnx(tmp_path / "m.onnx")
    (tmp_path / "w.bin").write_bytes(bytes(15))
    with pytest.raises(InputError, match=r"m\.onnx: its weights are cut off: w\.bin"):
        check_onnx(tmp_path / "m.onnx")


def test_weights_that_a_graph_in_a_graph_has_outside_are_not_read(tmp_path):
    inner = graph_with("../w.bin").graph
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])]
    inputs = [helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    onnx.save(helper.make_model(helper.make_graph([node], "g", inputs, outputs)), str(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match="which is not in its folder"):
        check_onnx(tmp_path / "m.onnx")


def test_weights_beside_a_file_are_read_and_missing_ones_named(tmp_path):
    onnx.save(graph_with("w.bin"), str(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match=r"its weights are not beside it: w\.bin"):
        check_onnx(tmp_path / "m.onnx")
    (tmp_path / "w.bin").write_bytes(bytes(16))
    check_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["maskrcnn", pytest.param("unet", marks=slow)])
def test_a_program_without_segkit_finds_what_segkit_finds(segkit, here, exported, name):
    noise = np.random.default_rng(1).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    cv2.imwrite(str(here / "a.png"), cv2.resize(noise, (180, 120), interpolation=cv2.INTER_CUBIC))
    if name == "maskrcnn":
        shutil.copy(exported[1], here)
    else:
        assert segkit("export", checkpoint(here / "m.pt", card_of(name))).code == 0
    assert segkit("predict", "a.png", "--model", "model.onnx").code == 0
    program = ROOT / "examples/deploy/predict.py"
    assert len([line for line in program.read_text().splitlines() if line.strip()]) <= 65
    code = (
        "import sys; sys.modules['segkit'] = sys.modules['torch'] = sys.modules['cv2'] = None; import runpy; "
        f"runpy.run_path({str(program)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "model.onnx", "a.png"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (here / "a_found.png").is_file()
    results = json.loads((here / "predictions/results.json").read_text())
    if name == "maskrcnn":
        shown = [float(line.split()[1]) for line in done.stdout.splitlines()]
        assert np.allclose(shown, sorted((each["score"] for each in results), reverse=True), atol=0.02)
        assert shown
    else:
        labels = cv2.imread("predictions/classmap/a.png", cv2.IMREAD_UNCHANGED)
        shares = [float(line.split()[1].rstrip("%")) / 100 for line in done.stdout.splitlines()]
        assert np.allclose(shares, [np.mean(labels == 1), np.mean(labels == 2)], atol=1e-3)
