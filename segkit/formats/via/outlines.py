"""VIA's outlines as the shapes of LabelMe, so that the same code reads both."""

from typing import Any

from segkit.formats.shapes.turned import ellipse


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
                return "polygon", ellipse(*(float(outline.get(name, 0)) for name in ("cx", "cy", "rx", "ry", "theta")))
            case "point":
                return kind, [[outline["cx"], outline["cy"]]]
    except (KeyError, TypeError, ValueError, OverflowError):
        return kind, None
    return kind, []
