"""What the 256 levels of bytes lose of pictures of more bits, by how well faint discs can be told from the background.

    python benchmarks/depth_levels.py [--pictures 4000]

A disc is brighter than its background by so many levels, under noise of so many levels (a level is the 255th part of
the range that a dataset has); backgrounds lie anywhere between two levels. Printed is the area under the ROC curve for
a single pixel, and for the difference of the means of 100 pixels in the disc and 100 beside it: 0.5 is chance, and no
network can do better than the values allow. Once for the values as they are, once for those that are rounded to bytes.
"""

import argparse

import numpy as np
from scipy.stats import rankdata

CONTRASTS, NOISES, PIXELS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0), (0.05, 0.1, 0.3, 1.0), 100


def auc(positive, negative):
    """The probability that a positive value is above a negative one; ties count half."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return (ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4000)
    count, rng = parser.parse_args().pictures, np.random.default_rng(0)
    print("| noise | contrast | pixel | pixel, bytes | disc | disc, bytes |\n|---|---|---|---|---|---|")
    for noise in NOISES:
        for contrast in CONTRASTS:
            base = 20 + rng.random((count, 1))
            disc, beside, elsewhere = (base + add + noise * rng.standard_normal((count, PIXELS))
                                       for add in (contrast, 0.0, 0.0))  # fmt: skip
            cells = []
            for use in (lambda values: values, np.round):
                one, two, three = use(disc), use(beside), use(elsewhere)
                pixel = auc(one[:, 0] - two[:, 1], three[:, 0] - two[:, 1])
                mean = auc(one.mean(1) - two.mean(1), three.mean(1) - two.mean(1))
                cells.append((pixel, mean))
            (a, b), (c, d) = cells
            print(f"| {noise:g} | {contrast:g} | {a:.2f} | {c:.2f} | {b:.2f} | {d:.2f} |")


if __name__ == "__main__":
    main()
