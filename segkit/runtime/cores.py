"""The processor cores of this process: the one place that counts them."""

import os


def usable_cores() -> int:
    """Cores that this process may use, of those of the machine; schedulers and ``taskset`` give it fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_a_process(processes: int) -> int:
    """The cores that each of some processes has when they share those of this one; at least 1."""
    return max(1, usable_cores() // processes)


def cores_if_limited() -> int:
    """The cores of this process where they are fewer than the machine's; 0: it has all of them.

    For libraries that count the machine's cores by themselves, and do well where the process has all.
    """
    usable = usable_cores()
    return usable if usable < (os.cpu_count() or 1) else 0
