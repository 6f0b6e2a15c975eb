"""Where the memory of a training goes, and whether, where and why it stays there.

``segkit memprofile -- train.py`` needs no change to a script. Whoever likes to say it themselves, or trains without an
optimiser, marks the steps::

    import segkit.memory

    with segkit.memory.watch() as watching:
        for batch in batches:
            ...
            watching.step()
    print(watching.report()["verdict"])
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segkit.memory.process.watch import Watching


def watch(*, limit: int | None = None, deep: bool = False) -> "Watching":
    """A context in which a training is watched; its ``step()`` ends a step.

    In a script that ``segkit memprofile`` runs, it marks the steps of that profile.

    Args:
        limit: Bytes that there are, for the steps until they are used up; by default what the device or machine has.
        deep: Look at the host's memory at every step.
    """
    from segkit.memory.process.watch import Watching  # noqa: PLC0415 -- torch takes seconds

    return Watching(limit, deep)
