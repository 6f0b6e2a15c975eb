"""VIA's outlines as the shapes of LabelMe, so that the same code reads both."""

import math
from typing import Any


def shape_of(outline: dict[str, Any]) -> tuple[str, Any]:
    """The shape type and points of ``shape_attributes``; points are None where values are missing or no numbers."""
    kind = str(outline.get("name"))
    try:
        match kind:
            case "polygon" | "polyline":
                pairs = zip(outline["all_points_x"], outline["all_points_y"], strict=True)
                return ("linestrip" if kind == "polyline" else kind), [list(pair) for pair in pairs]
            case "rect":
                x, y = outline["x"], outline["y"]
                return "rectangle", [[x, y], [x + outline["width"], y + outline["height"]]]
            case "circle":
                return kind, [[outline["cx"], outline["cy"]], [outline["cx"] + outline["r"], outline["cy"]]]
            case "ellipse":
                return "polygon", _ellipse(*(float(outline.get(name, 0)) for name in ("cx", "cy", "rx", "ry", "theta")))
            case "point":
                return kind, [[outline["cx"], outline["cy"]]]
    except (KeyError, TypeError, ValueError, OverflowError):
        return kind, None
    return kind, []


def _ellipse(cx: float, cy: float, rx: float, ry: float, theta: float) -> list[list[float]]:
    turn = (math.cos(theta), math.sin(theta))
    points = []
    for degree in range(360):
        x, y = rx * math.cos(math.radians(degree)), ry * math.sin(math.radians(degree))
        points.append([cx + x * turn[0] - y * turn[1], cy + x * turn[1] + y * turn[0]])
    return points
