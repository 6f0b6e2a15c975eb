"""Real training steps on a CPU, to hold rehearsed ones against: their peak, and the sizes that depended on values."""

from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.dataset import Image
from segkit.device import Ranks
from segkit.gradients import SharedGradients
from segkit.learn import learn
from segkit.loading import Sample
from segkit.memory.meter import CounterMeter
from segkit.memory.tracker import LiveTensors
from segkit.models.adapt import train_mode
from segkit.progress import SILENT
from segkit.rehearsing.rehearsal import Rehearsal
from segkit.state import prepare, state_of

CPU = torch.device("cpu")
aten = torch.ops.aten


class Sizes(TorchDispatchMode):
    """Notes how large what depends on values came out, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is aten.nonzero.default or func._schema.name == "torchvision::nms":
            self.seen.append(len(out))
        elif func is aten._unique2.default:
            self.seen.append(len(out[0]))
        return out


class Real(NamedTuple):
    """Peaks of some steps, by scene, and the sizes seen in each."""

    peaks: list[int]
    sizes: list[list[int]]


def real_steps(plan, scenes, micro_batch):
    """The peaks that segkit's own tracker measures in real steps."""
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
        del parameter
        for scene in scenes:
            batch = [
                sample_of(shape, scene.frame, plan.card.framing.kind, len(plan.card.categories))
                for shape in scene.shapes
            ]
            tensors.reset_peak()
            with Sizes() as seen:
                learn(plan, state, gradients, batch, Ranks(0, 1, CPU), CounterMeter(CPU), (), SILENT)
            del batch
            peaks.append(tensors.peak)
            sizes.append(seen.seen)
    return Real(peaks, sizes)


def sample_of(shape, frame, kind, labels):
    """A picture of noise with the instances of a shape."""
    image = torch.randint(0, 255, (3, shape.height, shape.width), dtype=torch.uint8)
    record = Image(0, shape.name, shape.height, shape.width)
    if kind == "semantic":
        return Sample(
            image, {"semantic": torch.randint(0, labels + 1, (shape.height, shape.width), dtype=torch.uint8)}, record
        )
    boxes = torch.from_numpy(shape.boxes).clone()
    crops = torch.ones(shape.crop_bytes, dtype=torch.uint8)
    target = {"boxes": boxes.float(), "labels": torch.ones(len(boxes), dtype=torch.int64), "crops": crops, "seed": 1}
    if frame is not None:
        target["frame"] = frame
    return Sample(image, target, record)


def rehearsed_steps(plan, scenes, micro_batch, sizes=None):
    """The peaks of the same steps on fake tensors, by this CPU's rules, with the sizes given or by bounds."""
    with Rehearsal(plan, micro_batch, as_cuda=False) as rehearsal:
        peaks = []
        for number, scene in enumerate(scenes):
            rehearsal.oracle.answers = list(sizes[number]) if sizes is not None else None
            peaks.append(rehearsal.step(scene).allocated)
            assert not rehearsal.oracle.answers
        return peaks
