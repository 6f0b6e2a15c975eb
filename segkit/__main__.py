"""``python -m segkit``."""

from segkit.cli import run

run()
