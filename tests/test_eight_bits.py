"""What is in 8 bits in a file, by which ranges, and with which weights."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from random_models import card_of, sharp

from segkit.exporting.calibrate import calibrate
from segkit.exporting.eight_bits import nodes_for_8_bits
from segkit.exporting.even_channels import even_out, pairs_of
from segkit.exporting.fast_eight_bits import make_fast
from segkit.exporting.graphs import graph_of
from segkit.exporting.onnx import quiet, write_onnx
from segkit.exporting.quantise import quantise
from segkit.exporting.rounded_weights import Inputs, Layer, rounded
from segkit.exporting.sensitive_parts import _change, ranked_parts
from segkit.models.quantised import LARGEST_WEIGHT, range_of, sample_of


class Network(torch.nn.Module):
    """A small U-Net; its names are those of segkit's parts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.ModuleList(
            [
                torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU6()),
                torch.nn.Sequential(
                    torch.nn.Conv2d(8, 8, 3, 2, 1, groups=8), torch.nn.ReLU6(), torch.nn.Conv2d(8, 16, 1)
                ),
            ]
        )
        self.decoder = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Conv2d(24, 8, 3, padding=1), torch.nn.ReLU())])
        self.head = torch.nn.Conv2d(8, 4, 1)

    def forward(self, images):
        first = self.body[0](images.float() / 128 - 1)
        second = torch.nn.functional.interpolate(self.body[1](first), scale_factor=2.0, mode="nearest")
        return self.head(self.decoder[0](torch.cat([second, first], 1))).softmax(1)


def images(count=6):
    noise = torch.rand(count, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, size=(48, 64), mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)


def written(network, path):
    free = {"images": {0: "batch", 2: "height", 3: "width"}}
    with quiet(), torch.no_grad():
        torch.onnx.export(
            network.eval(), (images(2),), str(path), dynamo=False, opset_version=17, input_names=["images"],
            output_names=["probabilities"], dynamic_axes=free,
        )  # fmt: skip
    return path


def outputs(path, names=None):
    proto = onnx.load(str(path))
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names or ()
    )
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(each) for each in session.run(None, {"images": images().numpy()})]


def operators(path):
    return {node.op_type for node in onnx.load(str(path)).graph.node}


@pytest.fixture
def network():
    return Network()


def test_what_is_between_layers_is_in_8_bits_and_results_are_not(network, tmp_path):
    path = written(network, tmp_path / "m.onnx")
    calibrated = calibrate(path, list(images()))
    quantise(calibrated, (), tmp_path / "q.onnx")
    nodes = onnx.load(str(tmp_path / "q.onnx")).graph.node
    assert list(calibrated.nodes.parts) == ["body.0", "body.1", "decoder.0"]
    assert not {"Relu", "Clip"} & {node.op_type for node in nodes}
    makers = {node.output[0]: node.op_type for node in nodes}
    for node in nodes:
        if node.op_type in ("Conv", "Concat"):
            assert makers[node.input[0]] == "DequantizeLinear", node.name
    head = next(node for node in nodes if node.name == "/head/Conv")
    assert head.input[1] in {each.name for each in calibrated.nodes.graph.initializer}
    assert [node.op_type for node in nodes if head.output[0] in node.input] == ["Softmax"]


def test_features_in_8_bits_are_enlarged_by_repeating_pixels_and_stay_the_same(network, tmp_path, monkeypatch):
    path = written(network, tmp_path / "m.onnx")
    calibrated = calibrate(path, list(images()))
    quantise(calibrated, (), tmp_path / "fast.onnx")
    monkeypatch.setattr("segkit.exporting.fast_eight_bits._repeat_in_8_bits", lambda proto: None)
    quantise(calibrated, (), tmp_path / "plain.onnx")
    kinds = [
        {each.op_type for each in onnx.load(str(tmp_path / f"{name}.onnx")).graph.node} for name in ("fast", "plain")
    ]
    assert ("Resize" in kinds[0], "Resize" in kinds[1]) == (False, True)
    assert torch.equal(outputs(tmp_path / "fast.onnx")[0], outputs(tmp_path / "plain.onnx")[0])


def test_features_that_are_not_in_8_bits_are_enlarged_as_before(network, tmp_path):
    path = written(network, tmp_path / "m.onnx")
    calibrated = calibrate(path, list(images()))
    quantise(calibrated, ("body.1",), tmp_path / "q.onnx")
    assert "Resize" in operators(tmp_path / "q.onnx")
    assert (outputs(tmp_path / "q.onnx")[0] - outputs(path)[0]).abs().max() < 0.1


def test_nothing_is_computed_that_nobody_reads(network, tmp_path):
    """What the head reads in 32 bits has a scale for each channel; that with one scale is read no more."""
    path = written(network, tmp_path / "m.onnx")
    quantise(calibrate(path, list(images())), (), tmp_path / "q.onnx")
    graph = onnx.load(str(tmp_path / "q.onnx")).graph
    read = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
    assert [node.name for node in graph.node if not read & set(node.output)] == []
    assert {each.name for each in graph.initializer} <= read


def test_what_only_a_graph_in_a_graph_reads_is_kept():
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    result = [info("inner", 1, None)]
    one, other = (
        onnx.helper.make_graph([make("Identity", [name], ["inner"])], "branch", [], result) for name in ("a", "b")
    )
    nodes = [make("Neg", ["x"], [name]) for name in ("a", "b", "c")]
    nodes.append(make("If", ["chosen"], ["y"], then_branch=one, else_branch=other))
    given = [info("x", 1, [1]), info("chosen", 9, [])]
    proto = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", given, [info("y", 1, None)]))
    make_fast(proto)
    assert [node.output[0] for node in proto.graph.node] == ["a", "b", "y"]


def test_what_an_activation_cuts_off_takes_no_part_of_the_range(network, tmp_path):
    with torch.no_grad():
        network.body[0][0].weight *= 300  # most of the outputs are below 0 or above 6
    path = written(network, tmp_path / "m.onnx")
    quantise(calibrate(path, list(images())), (), tmp_path / "q.onnx")
    whole, found = outputs(path)[0], outputs(tmp_path / "q.onnx")[0]
    constant = whole.mean((0, 2, 3), keepdim=True)
    assert (found - whole).square().mean() < 0.01 * (constant - whole).square().mean()


@pytest.mark.parametrize("part", ["body.1", "decoder.0"])
def test_a_part_that_is_left_out_has_the_very_weights_of_the_model(network, part, tmp_path):
    """ONNX Runtime would round them, with one scale for all channels, when it opens the file."""
    with torch.no_grad():
        network.head.weight[0] *= 1000
        network.decoder[0][0].weight[0] *= 1000
    path = written(network, tmp_path / "m.onnx")
    calibrated = calibrate(path, list(images()))
    quantise(calibrated, (part,), tmp_path / "q.onnx")
    proto = onnx.load(str(tmp_path / "q.onnx"))
    weights = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    left_out = [node for node in proto.graph.node if node.op_type == "Conv" and node.input[1] in weights]
    assert {node.name.split("/")[1] for node in left_out} == {part, "head"}
    for node in left_out:
        layer = Layer(node, weights[node.input[1]])
        pads, strides = layer.attributes["pads"], layer.attributes["strides"]
        *_, x, found = outputs(tmp_path / "q.onnx", [node.input[0], node.output[0]])
        expected = torch.nn.functional.conv2d(
            x, torch.tensor(layer.weight), torch.tensor(weights[node.input[2]]), strides, pads[:2], groups=layer.groups
        )
        by_channel = (found - expected).abs().amax((0, 2, 3)) / expected.abs().amax((0, 2, 3))
        assert by_channel.max() < 1e-4, node.name


def convolution(weight):
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return Layer(node, weight.numpy())


def test_weights_are_rounded_with_regard_to_their_inputs():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 4, 3, 3, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(2, 4, 40, 50, generator=generator), 5, 1, 2).relu()
    layer, inputs = convolution(weight), Inputs()
    inputs.add(layer.patches(smooth, generator))
    found = rounded(layer, inputs)
    steps = torch.tensor(found.weight) / torch.tensor(found.scales)[:, None, None, None]
    assert (steps - steps.round()).abs().max() < 1e-3
    assert steps.abs().max() <= LARGEST_WEIGHT + 1e-3
    nearest = (weight / torch.tensor(found.scales)[:, None, None, None]).round()
    whole, plain, chosen = (
        torch.nn.functional.conv2d(smooth, each, bias)[..., 2:-2, 2:-2]
        for each, bias in (
            (weight, None),
            (nearest * torch.tensor(found.scales)[:, None, None, None], None),
            (torch.tensor(found.weight), torch.tensor(found.bias)),
        )
    )
    assert (chosen - whole).square().mean() < 0.2 * (plain - whole).square().mean()


def test_patches_are_the_inputs_of_outputs():
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(6, 2, 3, 1, generator=generator), torch.randn(2, 4, 9, 7, generator=generator)
    node = onnx.helper.make_node(
        "Conv", ["x", "w"], ["y"], pads=[1, 0, 2, 1], strides=[2, 1], dilations=[2, 1], group=2
    )
    layer = Layer(node, weight.numpy())
    padded = torch.nn.functional.pad(x, (0, 1, 1, 2))
    expected = torch.nn.functional.conv2d(padded, weight, None, (2, 1), 0, (2, 1), 2)  # [2, 6, h, w]
    found = (layer.rows() @ layer.patches(x, generator)).reshape(6, -1)  # [6, N]
    places = {tuple(each.tolist()) for each in expected.permute(0, 2, 3, 1).reshape(-1, 6).round(decimals=3)}
    assert {tuple(each.tolist()) for each in found.T.round(decimals=3)} <= places


def test_a_layer_that_was_given_nothing_is_rounded_to_the_nearest():
    weight = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    found = rounded(convolution(weight), Inputs())
    assert (torch.tensor(found.weight) - weight).abs().max() <= 0.501 * found.scales.max()
    assert not found.bias.any()


def test_a_picture_is_in_8_bits_as_it_is_where_all_its_channels_have_one_scale(network, tmp_path):
    """Also by a calibration on pictures that are neither black nor white anywhere."""
    path = written(network, tmp_path / "m.onnx")
    quantise(calibrate(path, [each // 2 + 60 for each in images()]), (), tmp_path / "q.onnx")
    first = next(each for each in onnx.load(str(tmp_path / "q.onnx")).graph.node if each.op_type == "Conv")
    *_, read = outputs(tmp_path / "q.onnx", [first.input[0]])
    assert (read - (images().float() / 128 - 1)).abs().max() < 1e-6


def test_a_range_cuts_off_few_values_far_out_and_has_0():
    values = torch.linspace(2, 3, 200_000)
    values[1] = 3.6
    low, high = range_of([sample_of(values)])
    assert low == 0
    assert 3 <= high < 3.6
    assert range_of([sample_of(torch.tensor([-1.0])), sample_of(torch.tensor([3.0]))]) == (-1, 3)
    assert range_of([]) == (0, 0)


def test_the_part_that_changes_answers_most_comes_first(network, tmp_path):
    with torch.no_grad():
        network.decoder[0][0].weight[:, 0] *= 1e4  # the others are rounded to nothing beside it
        network.body[1][2].weight[0] *= 1e-4
        network.body[1][2].bias[0] = 0
    path = written(network, tmp_path / "m.onnx")
    calibrated = calibrate(path, list(images()))
    ranked = ranked_parts(calibrated, list(images()))
    assert ranked[0] == "decoder.0"
    assert sorted(ranked) == ["body.0", "body.1", "decoder.0"]


@pytest.mark.parametrize(
    ("found", "change"),
    [
        ({}, 0.0),
        ({"scores": [0.6, 0.1]}, 0.2),
        ({"boxes": [[0, 0, 10, 5], [40, 40, 50, 50]]}, 0.5),
        ({"labels": [2, 1]}, None),
        ({"masks": [[[0.5]], [[0.9]]]}, 0.5),
        (
            {
                "boxes": [[40, 40, 50, 50], [0, 0, 10, 10]],
                "labels": [1, 1],
                "scores": [0.1, 0.8],
                "masks": [[[0.9]], [[0]]],
            },
            0.0,
        ),
        ({"scores": [0.8, 0.29]}, 0.0),
    ],
)
def test_answers_differ_by_the_instances_that_are_clearly_there(found, change):
    whole = {
        "boxes": [[0, 0, 10, 10], [40, 40, 50, 50]],
        "labels": [1, 1],
        "scores": [0.8, 0.1],
        "masks": [[[0]], [[0.9]]],
    }
    one, other = (
        {name: np.array(each, np.float32) for name, each in values.items()} for values in (whole, whole | found)
    )
    if change is None:
        assert _change(one, other) >= 1
    else:
        assert _change(one, other) == pytest.approx(change)
    nothing = {name: each[:0] for name, each in one.items()}
    assert _change(one, nothing) == 1
    assert _change(nothing, one) == 0


def test_a_detector_is_in_8_bits_but_for_its_results(tmp_path):
    card = replace(card_of("maskrcnn", "batch"), backbone="resnet18")
    write_onnx(graph_of(sharp(card).eval(), card), {}, tmp_path / "m.onnx")
    calibrated = calibrate(tmp_path / "m.onnx", list(images(2)))
    quantise(calibrated, (), tmp_path / "q.onnx")
    parts = calibrated.nodes.parts
    layers = {name.split("/")[-2] for names in parts.values() for name in names}
    assert {"conv1", "fc6", "fc7"} <= layers
    assert not {"cls_logits", "bbox_pred", "cls_score", "mask_fcn_logits"} & layers
    assert (tmp_path / "q.onnx").stat().st_size < 0.3 * (tmp_path / "m.onnx").stat().st_size
    boxes, labels, scores, masks, image = outputs(tmp_path / "q.onnx")
    assert len(boxes) == len(labels) == len(scores) == len(masks) == len(image) > 0
    assert sorted(ranked_parts(calibrated, list(images(2)))) == sorted(parts)


def test_a_convolution_whose_output_is_chosen_from_gives_results():
    make = onnx.helper.make_node
    weights = [numpy_helper.from_array(torch.zeros(1, 1, 1, 1).numpy(), name) for name in ("w", "v", "u")]
    graph = onnx.helper.make_graph(
        [
            make("Conv", ["x", "w"], ["a"], "/body/body.0/Conv"),
            make("Conv", ["a", "v"], ["b"], "/rpn/head/Conv"),
            make("TopK", ["b", "k"], ["c", "i"], "/TopK"),
            make("Gather", ["a", "i"], ["d"], "/Gather"),
            make("Conv", ["d", "u"], ["e"], "/mask/Conv"),
            make("ConvTranspose", ["e", "w"], ["f"], "/mask/ConvTranspose"),
        ],
        "g", [], [onnx.helper.make_tensor_value_info("f", 1, None)], weights,
    )  # fmt: skip
    nodes = nodes_for_8_bits(graph)
    assert nodes.parts == {"body/body.0": ["/body/body.0/Conv"], "mask": ["/mask/Conv"]}
    assert nodes.chosen(["mask"]) == ["/body/body.0/Conv"]


def test_probabilities_of_a_unet_are_computed_step_by_step_and_never_overflow(tmp_path):
    card = card_of("unet", "batch")
    model = sharp(card).eval()
    with torch.no_grad():
        model.head.bias += 1000  # logits beyond 89 have no power of e in 32 bits
    write_onnx(graph_of(model, card), {}, tmp_path / "m.onnx")
    assert "Softmax" not in operators(tmp_path / "m.onnx")
    expected = model.maps(list(images()))[0]
    assert expected.isfinite().all()
    found = outputs(tmp_path / "m.onnx")[0][0]
    assert (found - expected).abs().max() < 1e-3


class Depthwise(torch.nn.Module):
    """Two layers whose channels differ a hundredfold between them."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        conv = torch.nn.Conv2d
        self.body = torch.nn.ModuleList(
            [torch.nn.Sequential(conv(3, 16, 3, padding=1), activation, conv(16, 16, 3, padding=1, groups=16))]
        )
        self.head = conv(16, 4, 1)
        with torch.no_grad():
            self.body[0][0].weight *= torch.logspace(-2, 0, 16)[:, None, None, None]
            self.body[0][0].bias *= torch.logspace(-2, 0, 16)
            self.body[0][2].weight *= torch.logspace(2, 0, 16)[:, None, None, None]

    def forward(self, images):
        return self.head(self.body[0](images.float() / 128 - 1)).softmax(1)


@pytest.mark.parametrize("activation", [torch.nn.ReLU(), torch.nn.ReLU6()], ids=["relu", "relu6"])
def test_small_channels_keep_their_places_in_8_bits(activation, tmp_path, monkeypatch):
    path = written(Depthwise(activation), tmp_path / "m.onnx")
    whole = outputs(path)[0]
    calibrated = calibrate(path, list(images()))
    assert (outputs(calibrated.path)[0] - whole).abs().max() < 1e-5  # in 32 bits nothing changes
    quantise(calibrated, (), tmp_path / "even.onnx")
    monkeypatch.setattr("segkit.exporting.calibrate.pairs_of", lambda graph: [])
    quantise(calibrate(path, list(images())), (), tmp_path / "uneven.onnx")
    even, uneven = ((outputs(tmp_path / f"{name}.onnx")[0] - whole).square().mean() for name in ("even", "uneven"))
    assert even < 0.1 * uneven


def test_channels_are_evened_only_where_a_depthwise_convolution_alone_reads_them():
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("w", (2, 2, 1, 1)), ("d", (2, 1, 1, 1)))
    ]
    weights += [
        numpy_helper.from_array(np.float32(number), name) for name, number in (("zero", 0), ("one", 1), ("six", 6))
    ]

    def found(*nodes):
        graph = onnx.helper.make_graph(
            [make("Conv", ["x", "w"], ["a"]), *nodes], "g", [], [info("y", 1, None)], weights
        )
        return [(each.features, each.limit) for each in pairs_of(graph)]

    depthwise = make("Conv", ["b", "d"], ["y"], group=2)
    assert found(make("Relu", ["a"], ["b"]), depthwise) == [("b", None)]
    assert found(make("Clip", ["a", "zero", "six"], ["b"]), depthwise) == [("b", 6.0)]
    assert found(make("Clip", ["a", "one", "six"], ["b"]), depthwise) == []
    assert found(make("Sigmoid", ["a"], ["b"]), depthwise) == []
    assert found(make("Relu", ["a"], ["b"]), make("Conv", ["b", "w"], ["y"])) == []
    assert found(make("Relu", ["a"], ["b"]), depthwise, make("Neg", ["b"], ["z"])) == []
    assert found(make("Relu", ["a"], ["b"]), depthwise, make("Neg", ["a"], ["z"])) == []


def test_layers_that_share_weights_are_evened_apart():
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make("Conv", ["x", "w"], ["a"], "one"),
        make("Relu", ["a"], ["b"]),
        make("Conv", ["b", "d"], ["c"], "two", group=2),
        make("Conv", ["c", "w"], ["e"], "three"),
        make("Relu", ["e"], ["f"]),
        make("Conv", ["f", "d"], ["y"], "four", group=2),
    ]
    generator = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)
        for name, shape in (("w", (2, 2, 1, 1)), ("d", (2, 1, 1, 1)))
    ]
    graph = onnx.helper.make_graph(nodes, "g", [info("x", 1, [1, 2, 3, 3])], [info("y", 1, None)], weights)
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    x = {"x": generator.normal(size=(1, 2, 3, 3)).astype(np.float32)}
    before = ort.InferenceSession(proto.SerializeToString()).run(None, x)[0]
    largest = {"b": np.array([1, 0.01], np.float32), "f": np.array([0.5, 0], np.float32)}
    even_out(proto.graph, pairs_of(proto.graph), largest)
    weights = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    assert np.ptp([weights[node.input[1]].sum() for node in proto.graph.node if node.name in ("one", "three")]) > 0
    assert np.allclose(before, ort.InferenceSession(proto.SerializeToString()).run(None, x)[0], atol=1e-5)
