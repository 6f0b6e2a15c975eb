"""Sample predictions of a run in one picture: the ground truth on the left, the predictions on the right."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from segkit.data.draw import Pixels, draw_results
from segkit.data.files import temporary_file
from segkit.data.records import Dataset, Image, Result
from segkit.errors import SegkitError
from segkit.formats.pictures.framed import load_resized

SAMPLES = "samples.jpg"
_COUNT, _WIDTH, _HEIGHT, _SCORE = 4, 480, 480, 0.5


def sample_images(dataset: Dataset) -> list[Image]:
    """A few images spread over a split, the same every time; images with annotations are preferred."""
    annotated = {annotation.image_id for annotation in dataset.annotations}
    images = [image for image in dataset.images if image.id in annotated] or list(dataset.images)
    return images[:: max(1, len(images) // _COUNT)][:_COUNT]


def draw_samples(run: Path, dataset: Dataset, results: Sequence[Result], caption: str) -> None:
    """Draw a few images of a split, ground truth on the left and predictions on the right, into ``samples.jpg``.

    Args:
        run: The run's folder.
        dataset: The split; its ``sample_images`` are drawn.
        results: Predictions for these images; those with a score of at least 0.5 are drawn.
        caption: Added to the title of the predictions.
    """
    names = {category.id: category.name for category in dataset.categories}
    truth, rows = dataset.annotations_of(), []
    for image in sample_images(dataset):
        try:
            pixels = load_resized(dataset.paths.of(image), (image.height, image.width))
        except SegkitError:  # the evaluation reports it; here the image is only left out
            continue
        there = [Result(image.id, a.category_id, 1.0, a.bbox, a.segmentation) for a in truth.get(image.id, ())]
        found = [r for r in results if r.image_id == image.id and r.score >= _SCORE]
        left, right = (_panel(draw_results(pixels, some, names)) for some in (there, found))
        left = draw_results(left, [], names, f"{image.file_name}: annotated")
        rows.append(np.hstack([left, draw_results(right, [], names, f"found {caption}")]))
    if rows:
        width = max(row.shape[1] for row in rows)
        page = np.vstack(
            [np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
        )
        done, data = cv2.imencode(".jpg", page[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        assert done
        with temporary_file(run / SAMPLES) as temporary:
            temporary.write_bytes(data.tobytes())


def _panel(pixels: Pixels) -> Pixels:
    """Resized to fit into a cell of the page."""
    scale = min(_WIDTH / pixels.shape[1], _HEIGHT / pixels.shape[0])
    side = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(
        cv2.resize(pixels, side, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8
    )
