"""The line of a progress bar on a narrow terminal."""

import io

import pytest
from rich.console import Console

from segkit.commands.output import _Fitting


@pytest.mark.parametrize(("width", "line"), [(80, "loss 1.99  memory 1 GiB"), (22, "loss 1.99"), (5, "loss…")])
def test_figures_are_whole_or_left_out(width, line):
    file = io.StringIO()
    Console(file=file, width=width).print(_Fitting(("loss 1.99", "memory 1 GiB")))
    assert file.getvalue().strip() == line
