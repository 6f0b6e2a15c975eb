"""COCO's compressed run lengths: numbers <-> text (``rleToString`` and ``rleFrString`` in cocoapi).

From the fourth on, a number is the difference to the one two before. Each is written in groups of five bits, the lowest
first, with a bit that says whether more follow, as a character from ``0`` on.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def read_runs(text: str) -> Ints:
    """The run lengths of one mask."""
    digits = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits & 32 == 0)  # of each number
    first = np.concatenate([[0], last[:-1] + 1])
    places = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    runs = np.add.reduceat((digits & 31) << 5 * places, first)
    runs -= (digits[last] >> 4 & 1) << 5 * (last - first + 1)
    for parity in (1, 2):
        runs[parity::2] = np.cumsum(runs[parity::2])
    return runs


def write_runs(runs: Ints, lengths: Ints) -> list[str]:
    """The texts of masks whose run lengths follow one another.

    All are written at once: a call for each mask costs more than its numbers.

    Args:
        runs: The run lengths of all masks.
        lengths: How many belong to each mask; none has 0.
    """
    ends = np.cumsum(lengths)
    starts = ends - lengths
    runs = runs.astype(np.int32) if len(runs) and int(runs.max()) < 1 << 31 else runs  # half the time
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    for place in range(3):
        first = (starts + place)[lengths > place]
        numbers[first] = runs[first]
    # Most numbers need one group, so that each further one is done for fewer of them.
    later, groups = [np.arange(len(numbers))], np.ones(len(numbers), np.uint8)
    magnitude, limit = numbers ^ numbers >> 63, 16  # the last group has a bit for the sign
    while len(more := later[-1][magnitude >= limit]):
        groups[more] += 1
        magnitude, limit = numbers[more] ^ numbers[more] >> 63, limit << 5
        later.append(more)
    after = np.cumsum(groups, dtype=np.int64)
    before = after - groups
    text = np.empty(int(after[-1]), np.uint8)
    for group, chosen in enumerate(later):
        digits = (numbers[chosen] >> 5 * group & 31).astype(np.uint8) + np.uint8(48)
        digits += np.uint8(32) * (groups[chosen] > group + 1)
        text[before[chosen] + group] = digits
    whole = text.tobytes().decode("ascii")
    return [whole[before[a] : after[b - 1]] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
