"""Nothing wasted in a detector, and the same results: torchvision is the oracle."""

from collections import Counter

import pytest
import torch
from random_models import SETTINGS, card_of
from test_models import batch
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models.detection._utils import Matcher
from torchvision.ops import FrozenBatchNorm2d, box_iou

from segkit.loading.dataset import to_device
from segkit.loading.whole import Sample
from segkit.models import matching
from segkit.models.backbones import make_body
from segkit.models.detector import Detector
from segkit.models.frozen_norm import FoldingConv2d, FrozenNorm
from segkit.models.matching import match_regions


def boxes(count, seed, side=64):
    """Boxes with whole corners, so that many overlap equally."""
    random = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, side, (count, 2), generator=random)
    return torch.cat([corner, corner + torch.randint(1, side // 2, (count, 2), generator=random)], dim=1).float()


@pytest.mark.parametrize("block", [1, 700, 2**22])
@pytest.mark.parametrize(("low", "high", "keep_best"), [(0.3, 0.7, True), (0.5, 0.5, False)])
@pytest.mark.parametrize("seed", range(3))
def test_matches_are_those_of_torchvision(monkeypatch, block, low, high, keep_best, seed):
    monkeypatch.setattr(matching, "_BLOCK", block)
    truth, regions = boxes(23, seed), boxes(300, seed + 100)
    expected = Matcher(high, low, allow_low_quality_matches=keep_best)(box_iou(truth, regions))
    found = match_regions(truth, regions, low, high, keep_best=keep_best)
    assert torch.equal(found, expected)
    assert set(found.clamp(max=0).tolist()) == ({-2, -1, 0} if high > low else {-1, 0})


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """The most elements of a tensor that an operation makes."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.most = max([self.most, *(each.numel() for each in [out] if isinstance(each, torch.Tensor))])
        return out


def test_no_table_of_all_instances_and_anchors_is_made():
    truth, anchors = boxes(500, 0), boxes(60_000, 1)
    with Largest() as ours:
        match_regions(truth, anchors, 0.3, 0.7, keep_best=True)
    assert ours.most <= matching._BLOCK
    assert ours.most < 0.15 * len(truth) * len(anchors)


def randomised(module):
    """The module, with norms that do something."""
    random = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, FrozenBatchNorm2d):
            layer.running_mean.copy_(torch.randn(layer.running_mean.shape, generator=random) / 10)
            layer.running_var.copy_(torch.rand(layer.running_var.shape, generator=random) + 0.5)
            layer.weight.copy_(torch.rand(layer.weight.shape, generator=random) + 0.5)
            layer.bias.copy_(torch.randn(layer.bias.shape, generator=random) / 10)
    return module


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "efficientnet_lite0"])
def test_folded_norms_compute_the_same_with_the_same_gradients(name):
    torch.manual_seed(0)
    body = randomised(make_body(name, "frozen")[0]).double()  # in fp32 a deep body only tells how its CPU rounds
    norms = [layer for layer in body.modules() if isinstance(layer, FrozenNorm)]
    assert all(norm.folded for norm in norms)
    assert len(norms) == sum(isinstance(layer, FoldingConv2d) for layer in body.modules())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    outcomes = []
    for training in (True, False):  # in evaluation nothing is folded
        body.train(training).zero_grad()
        maps = body(images)
        sum((each**2).mean() for each in maps.values()).backward()
        outcomes.append([*maps.values(), *(parameter.grad.clone() for parameter in body.parameters())])
    for folded, whole in zip(*outcomes, strict=True):
        assert (folded - whole).abs().max() <= 1e-9 * whole.abs().max()


def test_the_state_dict_does_not_change():
    ours = make_body("resnet18", "frozen")[0].state_dict()
    assert not [name for name in ours if "_norm" in name]
    assert ours.keys() == {n for n in make_body("resnet18", "batch")[0].state_dict() if "num_batches" not in n}


def saved(module, *inputs):
    """The bytes that autograd keeps for backward, without parameters and buffers."""
    own = {value.untyped_storage().data_ptr() for value in (*module.parameters(), *module.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = module(*inputs)
    return sum(size for size, _ in kept.values()), losses


def test_bf16_keeps_little_more_than_half_of_what_fp32_keeps():
    body = make_body("resnet18", "frozen")[0].train()
    images = torch.randn(1, 3, 128, 128)
    whole, _ = saved(body, images)
    with torch.autocast("cpu", torch.bfloat16):
        short, maps = saved(body, images)
    assert all(each.dtype is torch.bfloat16 for each in maps.values())
    assert short <= 0.6 * whole  # the places of the largest values in the pooling are whole numbers in both
    assert whole < 3 * sum(each.numel() * 4 for each in maps.values())  # and not the scaled weights: 45 MB


def test_heads_of_the_second_version_are_folded_too():
    settings = SETTINGS.__class__(50, 16, 20, SETTINGS.anchor_sizes, head_norm="frozen")
    model = Detector(3, "resnet18", "frozen", settings, masks=True)
    assert all(norm.folded for norm in model.modules() if isinstance(norm, FrozenNorm))
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


class Waits(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operations for whose result a host waits on a GPU: their size or value decides what comes next."""

    names = ("aten::nonzero", "aten::_local_scalar_dense", "aten::_unique2", "aten::equal", "torchvision::nms")

    def __init__(self):
        super().__init__()
        self.seen = Counter()
        self._reads = Reads(self.seen)

    def __enter__(self):
        self._reads.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._reads.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        masks = args[1] if name in ("aten::index", "aten::index_put", "aten::index_put_") else ()
        if name in self.names or any(each is not None and each.dtype is torch.bool for each in masks):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    """Counts what a CPU has no operation for: lists of values, and constants that a GPU would get from the host."""

    def __init__(self, seen):
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, on_device = getattr(func, "__name__", ""), (kwargs or {}).get("device") is not None
        if name in ("tolist", "cpu", "numpy", "new_tensor") or (name in ("tensor", "as_tensor") and on_device):
            self._seen[name] += 1
        return func(*args, **(kwargs or {}))


def waits_of_a_step(model, count):
    """What a step of so many images waits for, with their targets as the loader gives them."""
    images, targets = [each * count for each in batch()]
    samples = []
    for seed, (image, given) in enumerate(zip(images[:count], targets, strict=False)):
        target = dict(given)
        masks, corners = target.pop("masks"), target["boxes"].long().tolist()
        cut = [mask[y1:y2, x1:x2].flatten() for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True)]
        target |= {"seed": seed, "box_masks": torch.cat([torch.zeros(0, dtype=torch.uint8), *cut])}
        samples.append(Sample(image, target, None))
    images, targets = to_device(samples, torch.device("cpu"))
    with Waits() as waits:
        sum(model(images, targets).values()).backward()
    return waits.seen


@pytest.mark.parametrize("name", ["maskrcnn", "fasterrcnn"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_step_waits_for_a_gpu_five_times_and_once_for_each_image(name, count):
    """Twice to sample, twice to pool, once for the masks, and in each suppression; torchvision's waits 34 times."""
    torch.manual_seed(0)
    seen = waits_of_a_step(card_of(name, "frozen").build().train(), count)
    assert seen == {"torchvision::nms": count, "tolist": 5 if name == "maskrcnn" else 3}


def test_waits_of_torchvision_are_seen():
    torch.manual_seed(0)
    model = card_of("maskrcnn", "frozen").build().eval()
    with Waits() as waits:
        model(batch()[0])
    assert waits.seen["torchvision::nms"] >= 2
    assert waits.seen["aten::nonzero"] > 4
    assert waits.seen["tensor"] >= 2
