"""How often 95 % confidence intervals of ``segkit.evaluation.analysis.intervals`` contained the score, in simulations.

Measured with ``python benchmarks/coverage.py --seed 11 --sets 800``; the standard error of a share of 0.95 is 0.008.
docs/benchmarks.md describes the simulated images and has the widths of the intervals.
"""

from bisect import bisect_left, bisect_right

SCORES = ("AP", "AP50", "PQ", "mIoU")
_MEASURED = {  # by images and categories: of each score
    (5, 1): (0.944, 0.941, 0.943, 0.907),
    (5, 3): (0.959, 0.955, 0.939, 0.945),
    (5, 20): (0.936, 0.963, 0.939, 0.964),
    (5, 40): (0.896, 0.966, 0.926, 0.958),
    (10, 1): (0.940, 0.969, 0.956, 0.917),
    (10, 3): (0.946, 0.940, 0.924, 0.951),
    (10, 20): (0.956, 0.965, 0.958, 0.960),
    (10, 40): (0.926, 0.969, 0.949, 0.964),
    (30, 1): (0.950, 0.949, 0.955, 0.934),
    (30, 3): (0.956, 0.948, 0.959, 0.938),
    (30, 20): (0.965, 0.973, 0.981, 0.965),
    (30, 40): (0.959, 0.973, 0.976, 0.956),
    (100, 1): (0.950, 0.946, 0.935, 0.958),
    (100, 3): (0.956, 0.966, 0.960, 0.953),
    (100, 20): (0.956, 0.944, 0.964, 0.956),
    (100, 40): (0.966, 0.974, 0.986, 0.956),
}
_IMAGES, _CATEGORIES = ([*dict.fromkeys(key[axis] for key in _MEASURED)] for axis in (0, 1))


def measured_coverage(score: str, images: int, categories: int) -> list[float] | None:
    """The lowest and the highest coverage of the simulations with about so many images and categories.

    Args:
        score: One of ``SCORES``.
        images: More than the largest number that was simulated have its coverage.
        categories: Likewise.

    Returns:
        The range over the simulations with the next smaller and the next larger numbers; None where fewer images than
        were simulated.
    """
    if images < _IMAGES[0] or score not in SCORES:
        return None
    shares = [
        _MEASURED[few, kinds][SCORES.index(score)]
        for few in _around(_IMAGES, images)
        for kinds in _around(_CATEGORIES, categories)
    ]
    return [min(shares), max(shares)]


def _around(measured: list[int], number: int) -> set[int]:
    """The numbers next to a number, itself where it is one of them."""
    below, above = bisect_right(measured, number) - 1, bisect_left(measured, number)
    return {measured[max(below, 0)], measured[min(above, len(measured) - 1)]}


def coverage_said(ranges: list[list[float] | None]) -> str:
    """What was measured, in words; nothing where it was not."""
    known = [each for each in ranges if each is not None]
    if not known:
        return ""
    low, high = (round(100 * find(each[side] for each in known)) for side, find in ((0, min), (1, max)))
    share = f"{low} %" if low == high else f"{low} to {high} %"
    return f"such intervals contained the score in {share} of simulated cases"
