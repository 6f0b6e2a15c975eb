"""Undocumented symbols of torch and torchvision are in ``torch_private.py`` only; importing has no side effects."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "segkit"
LIBRARIES = ("torch", "torchvision")


def private_symbols(source):
    """Dotted names of a module's source that begin with a library and have a part that begins with an underscore."""
    tree, found, names = ast.parse(source), [], {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
            names |= {(each.asname or each.name.partition(".")[0]): each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{each.name}" for each in node.names]
            names |= {(each.asname or each.name): f"{node.module}.{each.name}" for each in node.names}
    for node in ast.walk(tree):
        parts, inner = [], node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in names and parts:
            found.append(".".join([names[inner.id], *reversed(parts)]))
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if called and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            owner = ast.unparse(node.args[0])
            head = names.get(owner.partition(".")[0])
            if head is not None:
                found.append(f"{head}.{node.args[1].value}")
    return sorted(
        {name for name in found if name.split(".")[0] in LIBRARIES
         and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))}
    )  # fmt: skip


def test_the_search_finds_private_symbols():
    assert private_symbols("from torchvision.ops.poolers import _setup_scales") == [
        "torchvision.ops.poolers._setup_scales"
    ]
    assert private_symbols("import torch as t\nx = t._foreach_lerp_(a, b, c)") == ["torch._foreach_lerp_"]
    assert private_symbols("import torch\nx = getattr(torch.cpu, '_probe', None)") == ["torch._probe"]
    assert private_symbols("import torch\nx = torch.nn.Linear(1, 1).__class__") == []


def test_private_symbols_are_in_their_modules():
    found = {
        path.relative_to(ROOT): symbols
        for path in ROOT.rglob("*.py")
        if path.name != "torch_private.py" and (symbols := private_symbols(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_importing_changes_nothing_for_the_process():
    script = """
import os, pkgutil, importlib, signal
import cv2, torch
from PIL import Image
def state():
    # torch sets variables of its own when its compiler is imported
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}
    return (cv2.getNumThreads(), torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, environment,
            torch.are_deterministic_algorithms_enabled(), Image.MAX_IMAGE_PIXELS, signal.getsignal(signal.SIGTERM),
            signal.getsignal(signal.SIGINT), torch.get_default_dtype(), torch.initial_seed())
torch.manual_seed(3)
import segkit, matplotlib, pycocotools.mask
before = state()
for module in pkgutil.walk_packages(segkit.__path__, "segkit."):
    if not module.name.endswith(("__main__", "sitecustomize", "_polygons")):
        importlib.import_module(module.name)
after = state()
assert after == before, (before, after)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
