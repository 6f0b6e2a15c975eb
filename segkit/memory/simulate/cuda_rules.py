"""CUDA's rules for tensors that are on a CPU, so that a step on fake tensors keeps what it would keep on a GPU.

A backward pass on fake CUDA tensors needs a GPU, so steps are rehearsed on fake CPU tensors. Two rules differ: on CUDA,
autocast computes more in fp32 (such as upsampling and group norm, whose outputs a U-Net keeps), and boxes of all levels
are suppressed together.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from segkit.memory.measure.torch_private import batched_nms_with_limit, tree_map

# "CUDA Ops that can autocast to float32" of the documentation of torch.amp, by their names in Python.
_IN_FP32 = frozenset({
    "__pow__", "__rdiv__", "__rpow__", "__rtruediv__", "acos", "asin", "binary_cross_entropy_with_logits", "cosh",
    "cosine_embedding_loss", "cdist", "cosine_similarity", "cross_entropy", "cumprod", "cumsum", "dist", "erfinv",
    "exp", "expm1", "group_norm", "hinge_embedding_loss", "huber_loss", "interpolate", "kl_div", "l1_loss",
    "layer_norm", "log", "log10", "log1p", "log2", "log_softmax", "logsumexp", "margin_ranking_loss", "mse_loss",
    "multilabel_margin_loss", "multi_margin_loss", "nll_loss", "norm", "normalize", "poisson_nll_loss", "pow",
    "prod", "reciprocal", "renorm", "rsqrt", "sinh", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin",
    "softplus", "sum", "tan", "triplet_margin_loss", "vector_norm",
})  # fmt: skip
_TOGETHER = 100_000  # coordinates up to which torchvision suppresses the boxes of all classes at once on CUDA


class CudaAutocast(TorchFunctionMode):
    """Inside autocast on a CPU, computes in fp32 what autocast on CUDA would."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _IN_FP32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_to_fp32, args), tree_map(_to_fp32, kwargs or {})
        return func(*args, **(kwargs or {}))


def _to_fp32(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16):
        return value.float()
    return value


def cuda_suppression() -> AbstractContextManager[None]:
    """Let torchvision choose between its two ways to suppress boxes by class as it does on CUDA."""
    return batched_nms_with_limit(_TOGETHER)
