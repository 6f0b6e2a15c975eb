"""What a model cannot learn from a dataset, and what spoils its scores, said before the run starts."""

import math
from collections import Counter

from segkit.data.files import is_file
from segkit.data.find_levels import few_levels
from segkit.data.geometry import resized_dimensions
from segkit.data.records import Annotation, Image
from segkit.training.plan import Plan

_MOST_NAMED = 5  # categories in a warning


def warnings_about(plan: Plan) -> list[str]:
    """What vanishes at the model's size, categories without an instance, few grey levels, a spoilt validation split."""
    return [*_vanishing(plan), *_missing(plan), *_grey(plan), *_validation(plan)]


def _vanishing(plan: Plan) -> list[str]:
    """Instances smaller than a pixel as the model gets them; a U-Net gets images at their own size."""
    framing = plan.card.framing
    if framing.kind == "semantic":
        return []
    images = {image.id: image for image in plan.train.images}
    names = {category.id: category.name for category in plan.things.categories}
    total: Counter[str] = Counter()
    tiny: Counter[str] = Counter()
    for annotation in plan.things.annotations:
        if not annotation.iscrowd:
            name = names[annotation.category_id]
            total[name] += 1
            tiny[name] += _side(annotation, images[annotation.image_id], framing.size, framing.max_size) < 1
    found = [f"{tiny[name]} of {total[name]} instances of {name!r}" for name, count in tiny.most_common() if count]
    if not found:
        return []
    rest = f" and of {len(found) - _MOST_NAMED} more categories" if len(found) > _MOST_NAMED else ""
    some = ", ".join(found[:_MOST_NAMED]) + rest
    return [f"{some} are below 1 px at --size {framing.size}: they cannot be learnt; use a larger --size"]


def _side(annotation: Annotation, image: Image, size: int, max_size: int) -> float:
    """The shorter side of an instance in pixels of the model: of its box, or of a square of its area, if that is less.

    A thin diagonal line has a large box and a small area; a thin straight one may have an area of many pixels.
    """
    height, width = resized_dimensions(image.height, image.width, size, max_size)
    across, down = annotation.bbox[2] * width / image.width, annotation.bbox[3] * height / image.height
    area = annotation.area * width * height / (image.width * image.height)
    return min(across, down, math.sqrt(max(area, 0.0)))


def _missing(plan: Plan) -> list[str]:
    """Categories of which the training split has no instance."""
    learnt = Counter(each.category_id for each in plan.train.annotations if not each.iscrowd)
    scored = Counter(each.category_id for each in plan.val.annotations if not each.iscrowd) if plan.val else Counter()
    warnings = []
    for category in plan.train.categories:
        if not learnt[category.id]:
            where = f"the validation split has {scored[category.id]}" if scored[category.id] else "and no other has any"
            warnings.append(f"the training split has no instance of {category.name!r}, {where}: it cannot be learnt")
    if len(warnings) > _MOST_NAMED:
        left = len(warnings) - _MOST_NAMED
        warnings[_MOST_NAMED:] = [f"the training split has no instance of {left} more categories"]
    return warnings


def _grey(plan: Plan) -> list[str]:
    """Images of more than 8 bits of which few levels are left."""
    levels = plan.card.levels
    found = few_levels([plan.train.paths.of(image) for image in plan.train.images], levels) if levels else None
    if found is None:
        return []
    return [
        f"nine tenths of the pixels of the pictures of more than 8 bits have {found[1]} values, and {found[0]} of 256 "
        "grey levels as the model gets them: faint objects may be lost; save the square root or the logarithm of the "
        "values before you convert"
    ]


def _validation(plan: Plan) -> list[str]:
    """Pictures of the validation split that are not there, or that are learnt from, too."""
    if plan.val is None or not plan.val.images:
        return []
    paths = {image.file_name: plan.val.paths.of(image) for image in plan.val.images}
    warnings = []
    some = "{} of " + f"{len(paths)} pictures of the validation split"
    if gone := [name for name, path in paths.items() if not is_file(path)]:
        then = "they are not scored" if plan.config.bad_pictures == "skip" else "the first evaluation will end the run"
        warnings.append(f"{some.format(len(gone))} are missing, {gone[0]!r} first: {then}")
    learnt = {plan.train.paths.of(image).absolute() for image in plan.train.images}
    if both := [name for name, path in paths.items() if path.absolute() in learnt]:
        where = f"are in the training split, too, {both[0]!r} first"
        warnings.append(f"{some.format(len(both))} {where}: scores say little about other pictures")
    return warnings
