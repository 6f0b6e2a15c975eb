"""Undocumented symbols of torch are used in one module, which names what is lost without each."""

import ast
from pathlib import Path

import pytest
import torch

import segkit.memory
from segkit.memory.measure import torch_private

MEMORY = Path(segkit.memory.__file__).parent
OWN = {"self", "cls", "sys", "os"}  # and CPython's, which document theirs


def private_names(tree: ast.AST) -> set[str]:
    """Modules and names with an underscore that are imported from torch, and attributes of what is not our own."""
    found = set()
    ours = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    ours |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for name in [f"{module}.{each.name}".lstrip(".") for each in node.names]:
                if name.startswith("torch") and "._" in name:
                    found.add(name)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner not in OWN and node.attr not in ours | {"_replace"}:  # that of named tuples
                found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sorted(MEMORY.rglob("*.py")), ids=lambda path: str(path.relative_to(MEMORY)))
def test_private_symbols_of_torch_are_in_one_module(path):
    found = private_names(ast.parse(path.read_text(encoding="utf-8")))
    assert path.name == "torch_private.py" or not found
    assert path.name != "torch_private.py" or found  # this test does see them


def test_this_torch_has_every_private_symbol():
    assert torch_private.missing(torch_private.FOR_PROFILES | torch_private.FOR_REHEARSALS) == []


def test_the_report_names_what_a_missing_symbol_costs(monkeypatch):
    monkeypatch.delattr(torch.cuda.memory, "_dump_snapshot")
    with segkit.memory.watch() as watching:
        watching.step()
        (problem,) = watching.report()["problems"]
    assert problem == "this torch has no torch.cuda.memory._dump_snapshot; lost: snapshot.pickle"
