"""What a split holds, in a few short strings: whether two splits are the same, and what differs."""

import json
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from segkit.data.records import Annotation, Dataset

Digest = dict[str, int | str]


def digest_of(dataset: Dataset) -> Digest:
    """The contents of a split in plain values.

    Pictures are compared by name and size, not by their pixels: reading those would take longer than many steps.

    Returns:
        ``images`` and ``annotations``: their numbers. ``pictures``: of names and sizes; ``shapes``: of the annotations;
        both do not depend on the order of the images in the file. ``order``: of that order, which batches depend on.
    """
    labels = {category.id: label for label, category in enumerate(dataset.categories, 1)}
    by_name = sorted(dataset.images, key=lambda image: image.file_name)
    by_image = dataset.annotations_of()
    return {
        "images": len(dataset.images),
        "annotations": len(dataset.annotations),
        "pictures": _hash(f"{i.file_name}\n{i.height} {i.width}\n".encode() for i in by_name),
        "shapes": _hash(
            part
            for image in by_name
            for part in (
                image.file_name.encode(),
                *(each for a in by_image.get(image.id, ()) for each in _parts(a, labels.get(a.category_id, 0))),
            )
        ),
        "order": _hash(f"{image.file_name}\n".encode() for image in dataset.images),
    }


def _parts(annotation: Annotation, label: int) -> Iterable[bytes]:
    segmentation = annotation.segmentation
    yield f"\n{label} {annotation.iscrowd} {len(segmentation or ())} ".encode()
    if isinstance(segmentation, list):
        yield from (np.asarray(polygon, np.float64).tobytes() for polygon in segmentation)
    elif segmentation is not None:
        yield json.dumps(segmentation, sort_keys=True).encode()
    else:
        yield np.asarray(annotation.bbox, np.float64).tobytes()


def _hash(parts: Iterable[bytes]) -> str:
    hashed = blake2b(digest_size=16)
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def differences(split: str, before: Digest | None, now: Digest | None) -> list[str]:
    """What is different in a split, in sentences; empty where nothing is.

    Args:
        split: Its name in the sentences.
        before: Its digest then; None: there was no such split.
        now: Its digest now; None: there is none.
    """
    if before is None or now is None:
        return [] if before is now else [f"the {split} split is {'gone' if now is None else 'new'}"]
    if before["images"] != now["images"]:
        return [f"the {split} split has {now['images']} images, it had {before['images']}"]
    if before["pictures"] != now["pictures"]:
        return [f"the {split} split has other pictures"]
    if before["annotations"] != now["annotations"]:
        return [f"the {split} split has {now['annotations']} annotations, it had {before['annotations']}"]
    if before["shapes"] != now["shapes"]:
        return [f"annotations of the {split} split were changed"]
    if before["order"] != now["order"]:
        return [f"the images of the {split} split come in another order, and so do the batches"]
    return []
