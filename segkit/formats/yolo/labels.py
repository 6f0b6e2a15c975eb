"""The lines of a YOLO label file: a category number, and a polygon or a box in shares of the image's size."""

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
    """The instance of a polygon or a box in relative coordinates.

    Args:
        name: Its category.
        values: x, y, x, y, ... of a polygon; centre, width and height of a box, and perhaps its score.
        height: Of the image.
        width: Likewise.

    Raises:
        ValueError: It is neither, or outside the image.
    """
    if len(values) in (4, 5) and all(abs(value) < 100 for value in values):
        x, y, w, h = (value * (height if index % 2 else width) for index, value in enumerate(values[:4]))
        attributes = {"score": values[4]} if len(values) == 5 else {}
        return Instance.of_box(name, (x - w / 2, y - h / 2, w, h), height, width, attributes=attributes)
    if len(values) < 6 or len(values) % 2 or not all(abs(value) < 100 for value in values):
        raise ValueError("not a polygon of three points or more")
    polygon = [value * (height if index % 2 else width) for index, value in enumerate(values)]
    area, bbox = measure([polygon], height, width)
    if area == 0:
        raise ValueError("covers no pixel of the image")
    return Instance(name, [polygon], bbox, area)
