"""Whether a dataset's instances touch, and come apart by their distances from the edge: measured on its annotations."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segkit.choices import InstancesName
from segkit.data.coverage import Crop
from segkit.data.find_levels import spread
from segkit.data.label_maps import IGNORED, paint_labels
from segkit.data.masks import rle_crop, to_rle
from segkit.data.records import Annotation, Dataset, Image
from segkit.data.touching import SCALE, normalised_distances, paint_instances, part
from segkit.models.tensors import labels_of
from segkit.units import counted

_MOST_IMAGES, _MOST_PIXELS = 32, 1 << 23  # that are looked at
_MUCH = 0.02  # of the instances: from there on it is worth a head that they touch
_LEAST_PIXELS = 16  # of an instance that a U-Net finds
_SAME = 0.5  # IoU


@dataclass(frozen=True, slots=True)
class Touching:
    """How many instances of a split the true label maps and the true distances give back.

    Attributes:
        images: That were looked at.
        instances: In them, without the least ones.
        connected: Of these, those that are connected components of their label, to an IoU of more than 0.5.
        parted: Those that come out of the components where distances part them.
    """

    images: int
    instances: int
    connected: int
    parted: int

    @property
    def best(self) -> InstancesName:
        """How instances are best made."""
        return "distance" if self.parted - self.connected >= max(1, _MUCH * self.instances) else "components"

    def __str__(self) -> str:
        return (
            f"of {self.instances} instances in {counted(self.images, 'image', 'images')}, connected components are "
            f"{self.connected}, and {self.parted} where distances from the edge part them"
        )


def measure_touching(dataset: Dataset) -> Touching:
    """Measure how many instances touch, on images that are spread over a split."""
    labels, by_image = labels_of(dataset.categories), dataset.annotations_of()
    counts, pixels = np.zeros(4, np.int64), 0
    for image in spread([each for each in dataset.images if by_image.get(each.id)], _MOST_IMAGES):
        pixels += image.height * image.width
        if counts[0] and pixels > _MOST_PIXELS:
            break
        counts += (1, *_found_in(image, by_image[image.id], labels))
    return Touching(*counts.tolist())


def _found_in(image: Image, annotations: Sequence[Annotation], labels: dict[int, int]) -> tuple[int, int, int]:
    """Instances of an image, those that are connected components, and those that distances part."""
    size = image.height, image.width
    known = [(a.segmentation, IGNORED if a.iscrowd else labels[a.category_id]) for a in annotations]
    regions = [(segmentation, label) for segmentation, label in known if segmentation is not None]
    label_map = paint_labels(*size, regions, 0)
    crops = [rle_crop(to_rle(segmentation, *size)) for segmentation, label in regions if label != IGNORED]
    instances = paint_instances(label_map, [Crop(*crop) for crop in crops if crop is not None])
    distances = normalised_distances(instances)
    found = np.zeros(3, np.int64)
    for label in np.unique(label_map[(label_map > 0) & (label_map < IGNORED)]).tolist():
        count, components, stats, _ = cv2.connectedComponentsWithStats((label_map == label).astype(np.uint8))
        for component in range(1, count):
            left, top, width, height, _ = stats[component].tolist()
            window = np.s_[top : top + height, left : left + width]
            inside = components[window] == component
            parts = part(inside, distances[window].astype(np.float32) / SCALE)
            here = np.where(inside, instances[window], 0)
            numbers = np.flatnonzero(np.bincount(here.ravel()) >= _LEAST_PIXELS)
            for number in numbers[numbers > 0].tolist():
                connected = _is_found(here == number, inside.astype(np.int32))
                found += (1, connected, connected if parts is None else _is_found(here == number, parts))
    return int(found[0]), int(found[1]), int(found[2])


def _is_found(mask: npt.NDArray[np.bool_], parts: npt.NDArray[np.int32]) -> bool:
    """Whether one of the parts is an instance."""
    number = int(np.bincount(parts[mask]).argmax())
    both = np.count_nonzero(mask & (parts == number))
    return bool(number > 0 and both > _SAME * np.count_nonzero(mask | (parts == number)))
