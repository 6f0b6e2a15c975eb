"""What to do after a command, in the same words on the terminal, in JSON and on a page."""

from typing import NamedTuple

PICTURES = "PICTURES"  # in commands: the folder of the user's other pictures


class NextStep(NamedTuple):
    """One thing to do: why, and the command if there is one."""

    why: str
    command: str | None = None
