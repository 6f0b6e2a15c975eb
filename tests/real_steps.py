"""Real training steps on a CPU, to compare with rehearsed ones: their peak, and the sizes that depend on values."""

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.config.train import TrainConfig
from segkit.data.records import Annotation, Category, Dataset, Image
from segkit.loading.whole import Sample
from segkit.memory.measure.meter import CounterMeter
from segkit.memory.measure.tracker import LiveTensors
from segkit.models.adapt import train_mode
from segkit.models.host_counts import on_host
from segkit.runtime.ranks import Ranks
from segkit.training.gradients import SharedGradients
from segkit.training.plan import plan_without_folder
from segkit.training.rehearsal.rehearsal import Rehearsal
from segkit.training.state import prepare, state_of
from segkit.training.step import Training, train_step
from segkit.training.teachers.choose import teaching_with
from segkit.training.teachers.mean_teacher import with_weak_view

CPU = torch.device("cpu")
aten = torch.ops.aten
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def dataset_of(*pictures):
    """A dataset of images (height, width, instances) without files: rectangles at random places."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number, (height, width, count) in enumerate(pictures, 1):
        images.append(Image(number, f"{number:04d}.png", height, width))
        for _ in range(count):
            w, h = int(rng.integers(8, max(9, width // 3))), int(rng.integers(8, max(9, height // 3)))
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            polygon = [float(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]
            annotations.append(Annotation(len(annotations) + 1, number, 1, [polygon], (x, y, w, h), float(w * h)))
    return Dataset(tuple(images), tuple(annotations), (Category(1, "a"), Category(2, "b")), Path())


def plan_of(data, device="cuda", **options):
    """A training plan for a device that need not exist; for a CPU, regions are fewer."""
    config = TrainConfig(**({"weights": "none", "backbone": "resnet18", "augment": "none"} | options))
    dtype = DTYPES[options.get("precision", "fp32")]
    return plan_without_folder(config, data, None, torch.device(device), 1, dtype)


class Sizes(TorchDispatchMode):
    """Records the sizes that depend on values, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self._counts = _Counts(self.seen)

    def __enter__(self):
        self._counts.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._counts.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is aten.nonzero.default or func._schema.name == "torchvision::nms":
            self.seen.append(len(out))
        elif func is aten._unique2.default:
            self.seen.append(len(out[0]))
        return out


class _Counts(TorchFunctionMode):
    """Records the numbers that ``on_host`` reads, which is no operation on a CPU."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.Tensor.tolist and sys._getframe(1).f_code is on_host.__code__:
            self._seen.extend(out)
        return out


class Real(NamedTuple):
    """Peaks of some steps, by scene, and the sizes seen in each."""

    peaks: list[int]
    sizes: list[list[int]]


def real_steps(plan, scenes, micro_batch, *, trained=False):
    """The peaks that segkit's tracker measures in real steps; ``trained``: proposals find every instance."""
    torch.manual_seed(0)
    peaks, sizes = [], []
    with LiveTensors() as tensors:
        module = plan.card.build()
        prepare(plan, module)
        if plan.config.channels_last:
            module = module.to(memory_format=torch.channels_last)
        state = state_of(plan, module)
        state.micro_batch = micro_batch
        train_mode(module)
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        state.optimizer.step()
        gradients = SharedGradients(module, Ranks(0, 1, CPU))
        gradients.clear()
        teacher = plan.teacher.card.build() if plan.teacher is not None else None
        if teacher is not None and plan.config.channels_last:
            teacher = teacher.to(memory_format=torch.channels_last)
        teaching = teaching_with(plan, module, teacher, state.average).rehearsed()
        del teacher
        training = Training(plan, state, gradients, Ranks(0, 1, CPU), CounterMeter(CPU), teaching=teaching)
        for scene in scenes:
            batch = [_sample(shape, scene.frame, plan.card) for shape in scene.shapes]
            if plan.unlabelled is not None:
                others = [_sample(shape, scene.frame, plan.card) for shape in scene.shapes]
                batch += [with_weak_view(sample) for sample in others]
            tensors.reset_peak()
            with Sizes() as seen, _finding(module, batch) if trained else _nothing():
                train_step(training, batch)
            del batch
            peaks.append(tensors.peak)
            sizes.append(seen.seen)
    return Real(peaks, sizes)


def rehearsed_steps(plan, scenes, micro_batch, sizes=None):
    """The peaks of the same steps on fake tensors, by this CPU's rules, with sizes as given, or by bounds."""
    with Rehearsal(plan, micro_batch, as_cuda=False) as rehearsal:
        peaks = []
        for number, scene in enumerate(scenes):
            rehearsal.oracle.answers = list(sizes[number]) if sizes is not None else None
            peaks.append(rehearsal.step(scene).allocated)
            assert not rehearsal.oracle.answers
        assert not rehearsal.oracle.unknown
        return peaks


@contextmanager
def _nothing():
    yield


@contextmanager
def _finding(module, batch):
    """Proposals as after a long training: many around every instance."""
    rpn = module.rpn
    whole = rpn.choose_proposals
    boxes = iter([sample.target["boxes"] for sample in batch])

    def found(*given):
        kept = whole(*given)
        near = [next(boxes).repeat(400, 1)[: len(each)] for each in kept]
        return [torch.cat([n, each])[: len(each)] for n, each in zip(near, kept, strict=True)]

    rpn.choose_proposals = found
    try:
        yield
    finally:
        del rpn.choose_proposals


def _sample(shape, frame, card):
    """An image of noise with the instances of a ``Shape``."""
    image = torch.randint(0, 255, (3, shape.height, shape.width), dtype=torch.uint8)
    record = Image(0, shape.name, shape.height, shape.width)
    if card.framing.kind == "semantic":
        size = shape.height, shape.width
        target = {"semantic": torch.randint(0, len(card.categories) + 1, size, dtype=torch.uint8)}
        if card.unet.instances == "distance":
            target["distances"] = torch.randint(0, 256, size, dtype=torch.uint8)
        return Sample(image, target, record)
    boxes = torch.from_numpy(shape.boxes).float()
    masks = torch.ones(shape.mask_bytes, dtype=torch.uint8)
    target = {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64), "box_masks": masks, "seed": 1}
    if card.panoptic is not None:
        target["semantic"] = torch.randint(0, len(card.categories) + 1, image.shape[1:], dtype=torch.uint8)
    if frame is not None:
        target["frame"] = frame
    return Sample(image, target, record)


SQUARE, WIDE, CROWDED, MIXED = (512, 512, 10), (480, 640, 10), (512, 512, 100), (300, 200, 3)
CONFIGURATIONS = [  # pictures, options
    ((SQUARE,), {"size": 512, "batch": 1}),
    ((SQUARE,), {"size": 512, "batch": 1, "precision": "bf16", "optimizer": "sgd"}),
    ((SQUARE,), {"size": 512, "batch": 1, "backbone": "resnet50"}),
    ((SQUARE,), {"size": 512, "batch": 1, "backbone": "resnet50", "norm": "frozen", "freeze": ("stem",)}),
    ((CROWDED,), {"size": 512, "batch": 1}),
    ((CROWDED,), {"size": 512, "batch": 1, "precision": "bf16"}),
    ((WIDE, MIXED), {"size": 256, "batch": 2}),
    ((WIDE, MIXED), {"size": 256, "batch": 2, "precision": "bf16", "optimizer": "sgd"}),
    ((WIDE, MIXED), {"size": 256, "batch": 2, "optimizer": "sgd", "norm": "group"}),
    ((WIDE, MIXED), {"size": 256, "batch": 4, "micro_batch": 2}),
    ((WIDE, MIXED), {"size": 192, "batch": 2, "memory": "low"}),
    ((WIDE, MIXED), {"size": 192, "batch": 2, "memory": "low", "precision": "bf16", "micro_batch": 1}),
    ((WIDE, MIXED), {"size": 192, "batch": 2, "backbone": "mobilenet_v2", "ema": 0.99}),
    ((WIDE, MIXED), {"size": 256, "batch": 2, "model": "fasterrcnn", "optimizer": "rmsprop"}),
    ((WIDE, (480, 640, 0)), {"size": 256, "batch": 2, "model": "fasterrcnn", "precision": "bf16"}),
    ((WIDE, MIXED), {"size": 256, "batch": 2, "mask_head": "pointrend"}),
    ((WIDE, MIXED), {"size": 256, "batch": 2, "model": "condinst"}),
    ((WIDE, MIXED), {"size": 256, "batch": 2, "model": "condinst", "precision": "bf16"}),
    ((WIDE, MIXED), {"size": 256, "batch": 2, "model": "solov2"}),
    ((CROWDED,), {"size": 256, "batch": 1, "model": "solov2", "precision": "bf16"}),
    ((SQUARE,), {"model": "unet", "size": 256, "batch": 4}),
    ((SQUARE,), {"model": "unet", "size": 256, "batch": 4, "optimizer": "sgd"}),
    ((SQUARE,), {"model": "unet", "size": 256, "batch": 4, "precision": "bf16"}),
    ((SQUARE,), {"model": "unet", "size": 256, "batch": 4, "precision": "bf16", "optimizer": "sgd", "micro_batch": 1}),
    ((SQUARE,), {"model": "unet", "size": 512, "batch": 1}),
    ((SQUARE,), {"model": "unet", "size": 512, "batch": 2, "norm": "group", "loss": "focal"}),
    ((SQUARE,), {"model": "unet", "size": 320, "batch": 2, "memory": "low"}),
    ((SQUARE,), {"model": "unet", "size": 256, "batch": 2, "backbone": "resnet50", "precision": "bf16"}),
    ((SQUARE,), {"model": "unet", "size": 256, "batch": 3, "backbone": "mobilenet_v3_large", "micro_batch": 2}),
]
"""What accuracy is measured on: ``benchmarks/fit.py``, and a slow test."""
