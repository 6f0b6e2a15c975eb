"""The lines of a YOLO label file: a category number, and a polygon in shares of the image's size."""

from segkit.data.masks import measure
from segkit.data.records import Instance


def parse_line(line: str, names: dict[int, str]) -> tuple[str, list[float]]:
    """The category and the numbers of a line.

    Raises:
        ValueError: It has other words than numbers.
    """
    try:
        first, *words = line.split()
        category = int(float(first))
        values = [float(word) for word in words]
    except (ValueError, OverflowError) as error:
        raise ValueError("not a line of numbers") from error
    return names.get(category, f"class_{category}"), values


def to_instance(name: str, values: list[float], height: int, width: int) -> Instance:
    """The instance of a polygon in relative coordinates.

    Args:
        name: Its category.
        values: Relative coordinates x, y, x, y, ...
        height: Of the image.
        width: Likewise.

    Raises:
        ValueError: It is no polygon, or outside the image.
    """
    if len(values) in (4, 5):
        raise ValueError("a box without a segmentation")
    if len(values) < 6 or len(values) % 2 or not all(abs(value) < 100 for value in values):
        raise ValueError("not a polygon of three points or more")
    polygon = [value * (height if index % 2 else width) for index, value in enumerate(values)]
    area, bbox = measure([polygon], height, width)
    if area == 0:
        raise ValueError("covers no pixel of the image")
    return Instance(name, [polygon], bbox, area)
