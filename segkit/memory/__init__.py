"""Where the memory of a training goes, and whether it leaks: the line, the cause, the fix.

``segkit memprofile -- train.py`` needs no change to a script. A script can also mark its steps itself, for instance if
it has no optimiser::

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
    """Watch a training within a ``with`` block; the ``step()`` of what it gives ends a step.

    In a script that ``segkit memprofile`` runs, this marks the steps of that profile.

    Args:
        limit: Bytes that may be used, for the steps until they are used up; by default what the device or machine has.
        deep: Take a census of the host's containers at every step.
    """
    from segkit.memory.process.watch import Watching  # noqa: PLC0415 -- torch takes seconds

    return Watching(limit, deep)
