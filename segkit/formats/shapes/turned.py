"""Points turned about a centre: ellipses and rectangles of drawing tools, as outlines."""

import math


def turned(cx: float, cy: float, dx: float, dy: float, angle: float) -> list[float]:
    """The point at (dx, dy) from a centre, turned about it by an angle in radians: clockwise, as y points down.

    Args:
        cx: The centre.
        cy: Likewise.
        dx: From the centre, before it is turned.
        dy: Likewise.
        angle: In radians.
    """
    return [cx + dx * math.cos(angle) - dy * math.sin(angle), cy + dx * math.sin(angle) + dy * math.cos(angle)]


def ellipse(cx: float, cy: float, rx: float, ry: float, angle: float) -> list[list[float]]:
    """The outline of an ellipse that is turned by an angle in radians, a point for each degree.

    Args:
        cx: The centre.
        cy: Likewise.
        rx: The radius along x, before it is turned.
        ry: Along y.
        angle: In radians.
    """
    steps = [math.radians(degree) for degree in range(360)]
    return [turned(cx, cy, rx * math.cos(step), ry * math.sin(step), angle) for step in steps]
