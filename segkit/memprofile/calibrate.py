"""``memprofile --fit --calibrate``: what this GPU holds besides tensors, measured once and kept for later estimates."""

import json
import os
import random
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from segkit.data.files import temporary_file
from segkit.memory.simulate.allocator import replay
from segkit.memory.simulate.trace import Event
from segkit.memprofile.needs import Overhead
from segkit.progress import Progress
from segkit.units import format_bytes

_SIDE, _CHANNELS, _BATCH = 256, 64, 4  # of the convolution whose workspace is measured
_BLOCKS, _LIVE, _LARGEST = 400, 40, 2**23  # allocations of the probe, how many live at once, bytes of the largest


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured on a GPU.

    Attributes:
        gpu: Its name, the driver and PyTorch's version: what the figures depend on.
        context: Bytes in use that no tensor has: driver, CUDA context, kernels, and other programs.
        workspace: Bytes that cuDNN and cuBLAS take beside the tensors of a convolution and a product.
        fragmentation: What the allocator reserves beyond what its simulation says, as a share.
    """

    gpu: str
    context: int
    workspace: int
    fragmentation: float

    def overhead(self) -> Overhead:
        """The same for an estimate."""
        return Overhead(self.context + self.workspace, self.fragmentation, assumed=False, gpu=self.gpu)


def overhead_here(progress: Progress, *, measure: bool = False) -> Overhead:
    """What this machine's GPU holds besides tensors: measured now or before, else assumed.

    Args:
        progress: Is told what was measured, or why nothing was.
        measure: Measure now, and keep it.
    """
    if not torch.cuda.is_available():
        if measure:
            assumed = Overhead()
            progress.note(
                f"warning: --calibrate: no GPU is here to measure; assumed instead: {format_bytes(assumed.fixed)} for "
                f"driver and CUDA context, and {assumed.share:.0%} of the tensors for workspaces"
            )
        return Overhead()
    gpu, kept = _gpu(), _kept()
    if measure:
        found = _measure(gpu)
        kept[gpu] = found
        _keep(kept)
        progress.note(
            f"measured on {gpu}: {format_bytes(found.context)} for context and other programs, "
            f"{format_bytes(found.workspace)} for workspaces, {found.fragmentation:.1%} lost between blocks; "
            f"kept in {cache_file()}"
        )
    return kept[gpu].overhead() if gpu in kept else Overhead()


def cache_file() -> Path:
    """Where measurements are kept: in the user's cache folder."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "segkit" / "gpus.json"


def _kept() -> dict[str, Calibration]:
    """What was measured before, by GPU; nothing where the file is missing or not as it was written."""
    try:
        return {each["gpu"]: Calibration(**each) for each in json.loads(cache_file().read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _keep(kept: dict[str, Calibration]) -> None:
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path) as temporary:
        temporary.write_text(json.dumps([asdict(each) for each in kept.values()], indent=1) + "\n", encoding="utf-8")


def _gpu() -> str:
    index = torch.cuda.current_device()
    query = ["nvidia-smi", f"--id={index}", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name(index)}, driver {driver}, torch {torch.__version__}"


def _measure(gpu: str) -> Calibration:
    _compute()  # loads the kernels
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    context = total - free - torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    tensors = _compute()
    torch.cuda.synchronize()
    workspace = max(0, torch.cuda.max_memory_allocated() - held - tensors)
    return Calibration(gpu, max(0, context), workspace, _fragmentation())


def _compute() -> int:
    """A convolution and a product, forward; the bytes of their tensors."""
    with torch.no_grad():
        images = torch.zeros(_BATCH, _CHANNELS, _SIDE, _SIDE, device="cuda")
        weight = torch.zeros(_CHANNELS, _CHANNELS, 3, 3, device="cuda")
        maps = torch.nn.functional.conv2d(images, weight, padding=1)
        rows = maps.view(-1, _SIDE)
        product = rows @ rows[:_SIDE]
    return sum(each.numel() * each.element_size() for each in (images, weight, maps, product))


def _fragmentation() -> float:
    """What the allocator reserves for blocks of odd sizes beyond what its simulation says, as a share."""
    draw, events, live = random.Random(0), list[Event](), dict[int, torch.Tensor]()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(_BLOCKS):
        if len(live) >= _LIVE:
            number = draw.choice(sorted(live))
            del live[number]
            events.append((number, 0))
        number, size = len(events), draw.randint(512, _LARGEST)
        live[number] = torch.empty(size, dtype=torch.uint8, device="cuda")
        events.append((number, size))
    reserved = torch.cuda.max_memory_reserved() - before
    simulated = max(replay(tuple(events), (len(events),)).reserved)
    return max(0.0, reserved / simulated - 1)
