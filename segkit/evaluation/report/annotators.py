"""The section of the page about two people who annotated the same images."""

from typing import Any

from segkit.units import format_score

_HEAD = ("category", "first", "second", "agreed", "F1", "PQ", "mean IoU", "outlines apart, px", "95 %")
_PICTURES_HEAD = ("image", "PQ", "agreed", "only first", "only second")
_MOST_PICTURES = 20


def annotators_section(agreement: dict[str, Any] | None) -> dict[str, Any] | None:
    """Tables of what ``agreement_of`` found, as texts; None where no annotators were compared."""
    if agreement is None:
        return None
    kinds = agreement["categories"]
    return {
        "head": _HEAD,
        "rows": [_row(name, figures) for name, figures in agreement["per_category"].items()],
        "total": _row("all", agreement["overall"]),
        "same": kinds["same"],
        "pairs": kinds["pairs"],
        "kappa": None if kinds["kappa"] is None else format_score(kinds["kappa"]),
        "confused": [[each["first"], each["second"], str(each["count"])] for each in kinds["confused"]],
        "pictures_head": _PICTURES_HEAD,
        "pictures": [_picture(row) for row in agreement["pictures"][:_MOST_PICTURES]],
        "more": max(0, len(agreement["pictures"]) - _MOST_PICTURES),
    }


def _row(name: str, figures: dict[str, Any]) -> list[str]:
    apart = (figures["outline_distance"], figures["hausdorff95"])
    return [
        name,
        *(str(figures[key]) for key in ("first", "second", "agreed")),
        *(format_score(figures[key]) for key in ("F1", "PQ", "mean_IoU")),
        *("-" if value is None else f"{value:.2f}" for value in apart),
    ]


def _picture(row: dict[str, Any]) -> list[str]:
    return [
        row["file_name"],
        format_score(row["PQ"]),
        *(str(row[key]) for key in ("agreed", "only_first", "only_second")),
    ]
