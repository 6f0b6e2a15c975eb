"""A training rehearsed on fake tensors: the code of a run, without computation and without memory."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import nn

from segkit.errors import DeviceError
from segkit.memory.measure.torch_private import fake_mode
from segkit.memory.simulate.cuda_rules import CudaAutocast, cuda_suppression
from segkit.memory.simulate.detector_bounds import Bounds
from segkit.memory.simulate.model_parts import track_model_parts
from segkit.memory.simulate.oracle import Oracle
from segkit.memory.simulate.trace import Peak, Trace
from segkit.models.adapt import train_mode
from segkit.models.rfdetr_losses import matched_in_order
from segkit.models.roi_align import PyramidRoIAlign
from segkit.models.rpn import PerImageRPN
from segkit.models.suppress import TOGETHER_ON_GPU
from segkit.models.tensors import Target
from segkit.runtime.ranks import Ranks
from segkit.training.gradients import SharedGradients
from segkit.training.plan import Plan
from segkit.training.rehearsal.batches import Scene, Shape
from segkit.training.rehearsal.fakes import KeptGradients, Phases, fake_sample, to_channels_last
from segkit.training.rehearsal.sharded_bytes import ShardedBytes
from segkit.training.state import prepare, state_of
from segkit.training.step import Training, train_step
from segkit.training.teachers.choose import teaching_with
from segkit.training.teachers.mean_teacher import with_weak_view
from segkit.training.teachers.teaching import Teaching
from segkit.training.thaw import thaw

_CPU = torch.device("cpu")


class Rehearsal:
    """A model and its optimizer on fake tensors; inside the context, steps can be taken."""

    def __init__(self, plan: Plan, micro_batch: int, *, as_cuda: bool = True, ranks: int = 1) -> None:
        """Prepare.

        Args:
            plan: The training.
            micro_batch: Images that go through the model at once.
            as_cuda: Whether to follow CUDA's rules, or this CPU's.
            ranks: How many share a batch.
        """
        self._plan, self._micro_batch, self._as_cuda, self._ranks = plan, micro_batch, as_cuda, ranks
        self.trace = Trace()
        self.oracle = Oracle(Bounds(), self.trace, as_cuda=as_cuda)

    def __enter__(self) -> Self:
        mode = fake_mode()
        if mode is None:
            raise DeviceError("this torch has no fake tensors to rehearse with", "segkit needs torch 2.11 or later")
        with ExitStack() as stack:
            rules = (CudaAutocast(), cuda_suppression()) if self._as_cuda else ()
            for context in (mode, self.trace, self.oracle, matched_in_order(), *rules):
                stack.enter_context(context)
            self._build()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        """The model, its optimizer after a first step, and its gradients, each in its category."""
        plan, module = self._plan, self._plan.card.build()
        prepare(plan, module)
        if plan.config.channels_last:
            to_channels_last(module)
        self.state = state_of(plan, module)
        self.state.micro_batch = self._micro_batch
        if plan.config.unfreeze_after is not None:  # what it needs at most
            thaw(plan, module, self.state.optimizer)
        train_mode(module)
        for layer in module.modules():
            if isinstance(layer, PyramidRoIAlign):
                layer.products = not self._as_cuda  # they are for CPUs
            elif isinstance(layer, PerImageRPN) and self._as_cuda:
                layer.together = TOGETHER_ON_GPU
        track_model_parts(module, self.trace)
        module.register_forward_pre_hook(self._before_forward)
        parameters = list(module.parameters())
        self.trace.claim(parameters, "parameters")
        self.trace.claim(list(module.buffers()), "buffers")
        self.trace.claim(list(self.state.average.state.values()), "averaged weights")
        if self._as_cuda and plan.config.optimizer == "rmsprop":  # which is not fused, and on CUDA goes in one go
            for group in self.state.optimizer.param_groups:
                group["foreach"] = True
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
                parameter.register_post_accumulate_grad_hook(self._claim_gradient)  # type: ignore[no-untyped-call]
        self.state.optimizer.step()
        values = [v for values in self.state.optimizer.state.values() for v in values.values()]
        kept = [v for v in values if isinstance(v, torch.Tensor)]
        self.trace.claim(kept, "optimiser state")
        if plan.unlabelled is not None and plan.val is not None:  # the same run beside it (``labels_alone``)
            beside = [*module.state_dict().values(), *self.state.average.state.values(), *kept]
            if self._ranks > 1:  # gradients are in buckets, which are its own
                beside += [p for p in parameters if p.requires_grad]
            self._beside = [torch.empty_like(value) for value in beside]
            self.trace.claim(self._beside, "labels alone")
        self._shards = ShardedBytes.of(plan, module, self._ranks)
        if self._shards is not None:
            gradients_made = [p.grad for p in parameters if p.grad is not None]
            self.trace.divide([*parameters, *gradients_made, *kept], self._ranks)
        alone = Ranks(0, 1, _CPU)
        gradients = (KeptGradients if self._ranks > 1 else SharedGradients)(module, alone)
        gradients.clear()
        teaching = self._teaching(module)
        self._training = Training(plan, self.state, gradients, alone, Phases(self.trace), teaching=teaching)

    def _teaching(self, student: nn.Module) -> Teaching:
        """What is learnt from, with a teacher in a category of its own."""
        teacher = None
        with self.trace.doing("teacher"):
            if self._plan.teacher is not None:
                teacher = self._plan.teacher.card.build()
                if self._plan.config.channels_last:
                    to_channels_last(teacher)
            return teaching_with(self._plan, student, teacher, self.state.average).rehearsed()

    def _claim_gradient(self, parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            self.trace.claim([parameter.grad], "gradients")

    def _before_forward(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        targets: Sequence[Target] = inputs[1] or () if len(inputs) > 1 else ()
        self.oracle.next_forward([len(target["labels"]) for target in targets if "labels" in target])

    def step(self, scene: Scene) -> Peak:
        """The peak of one optimizer step over a scene's images, a micro-batch at a time."""
        self.oracle.bounds = Bounds(at_most=scene.at_most)
        with self.trace.doing("pictures"):
            batch = [fake_sample(shape, scene.frame, self._plan.card, self.oracle) for shape in scene.shapes]
            if self._plan.unlabelled is not None:
                others = [fake_sample(shape, scene.frame, self._plan.card, self.oracle) for shape in scene.shapes]
                batch += [with_weak_view(sample) for sample in others]
        self.trace.reset_peak()
        gathered = self._gathered(None if self._shards is None else self._shards.in_step)
        train_step(self._training, batch)
        del gathered
        return self.trace.peak()

    def _gathered(self, size: int | None) -> torch.Tensor | None:
        """What ranks that share a model hold of one another's parts."""
        if size is None:
            return None
        with self.trace.doing("gathered from other ranks"):
            return torch.empty(size, dtype=torch.uint8)

    def evaluate(self, shape: Shape, count: int = 1) -> Peak:
        """The peak of an evaluation between steps, of ``count`` images of the same dimensions at once."""
        module: Any = self.state.module
        if self.state.average.decay:
            module = self._plan.card.build()
            self.trace.claim(list(module.state_dict().values()), "averaged weights")
        module.eval()
        self.oracle.bounds = Bounds(at_most=True)
        self.trace.reset_peak()
        gathered = self._gathered(None if self._shards is None else self._shards.whole)
        with self.trace.doing("evaluation"), torch.no_grad():
            size = self._plan.card.channels, shape.height, shape.width
            images = [torch.empty(size, dtype=torch.uint8) for _ in range(count)]
            if self._plan.card.framing.kind == "semantic":
                for one in module.maps(images):
                    one.max(dim=0)
            else:
                module(images)
        del gathered
        train_mode(self.state.module)
        return self.trace.peak()
