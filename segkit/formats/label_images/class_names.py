"""What the ids in masks mean: by a list of classes, and by what a sample of the masks holds."""

from dataclasses import dataclass

from segkit.data.label_maps import IGNORED
from segkit.data.records import BACKGROUND, IGNORE, Finding, Uncovered
from segkit.errors import InputError
from segkit.formats.label_images.class_list import BACKGROUNDS, ClassList, Colour
from segkit.formats.label_images.evidence import WHITE, Evidence


@dataclass(frozen=True, slots=True)
class ClassNames:
    """What each id in the masks means.

    Attributes:
        names: Of the classes by id; ``_background_`` and ``__ignore__`` among them.
        uncovered: What pixels under no annotation are.
        file: The file that lists the classes; empty: there is none.
        colours: The id of each colour, where masks are colour-coded.
        smooth: Whether grey edges of black and white masks are made sharp.
    """

    names: dict[int, str]
    uncovered: Uncovered
    file: str = ""
    colours: dict[Colour, int] | None = None
    smooth: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories, in the order of their ids."""
        ordered = dict.fromkeys(name for _, name in sorted(self.names.items()))
        return tuple(name for name in ordered if name not in (BACKGROUND, IGNORE))


def name_classes(classes: ClassList | None, evidence: Evidence) -> tuple[ClassNames, tuple[Finding, ...]]:
    """What the ids mean: by a list of classes, by what the masks hold, and what was decided without being told.

    Raises:
        InputError: Masks hold 0 and 255, and several classes of the list could be 255.
    """
    single = evidence.single
    if classes is None and single is None:
        if not evidence.values:
            return ClassNames({}, "ignore"), ()
        why = "no file names the classes: they are called class_0, class_1, ..., and 255 is unlabelled"
        hint = "classes.txt: a line for each, such as '1 crack'; '0 _background_' where 0 is no class"
        return ClassNames({}, "ignore"), (Finding("masks", "noted", f"{why} ({hint})", shapes=0),)
    if classes is None:
        name = f"class_{single}" if single not in (1, WHITE) else "object"
        why = f"masks hold 0 and {single}: 0 is read as background, {single} as {name!r}"
        hint = f"a file classes.txt with the line '{single} NAME' names it, or --map {name}=NAME"
        names = ClassNames({0: BACKGROUND, single or 0: name}, "background", smooth=single == WHITE)
        return names, (Finding("masks", "noted", f"{why} ({hint})", shapes=0),)
    listed, rows = _listed(classes, evidence)
    meant = {
        number: BACKGROUND if name == BACKGROUND else IGNORE if classes.is_unlabelled(name) else name
        for number, name in listed.items()
    }
    uncovered: Uncovered = "background" if BACKGROUND in meant.values() else "ignore"
    smooth = WHITE in listed and len(classes.real_names) == 1
    voids = [name for name in listed.values() if name.lower() == "void" and classes.is_unlabelled(name)]
    rows += [f"{name!r} in {classes.file} is read as unlabelled" for name in voids]
    if WHITE in evidence.values and WHITE not in listed and listed:
        rows.append(f"255 is not in {classes.file}: it is read as unlabelled")
    found = ClassNames(meant, uncovered, classes.file, classes.colours, smooth)
    return found, tuple(Finding(classes.file, "noted", why, shapes=0) for why in rows)


def _listed(classes: ClassList, evidence: Evidence) -> tuple[dict[int, str], list[str]]:
    """The names of a list by the ids that masks hold; a list without ids may begin after the background."""
    names, file, single, real = classes.names, classes.file, evidence.single, classes.real_names
    if single is not None and single not in names and (single == WHITE or classes.colours is None):
        if single == WHITE and len(real) != 1:
            some = ", ".join(real[:5])
            raise InputError(
                f"{file}: masks hold 0 and 255, and {file} does not say which class 255 is ({some or 'none'})",
                "add the line '255 NAME', or '255 __ignore__' where 255 has no label, and '0 _background_'",
            )
        if len(real) == 1:
            background = next((name for name in names.values() if name.lower() in BACKGROUNDS), BACKGROUND)
            why = f"{single} is read as {real[0]!r}, the only class in {file}, and 0 as background"
            return {**names, 0: background, single: real[0]}, [why]
    if classes.numbered or classes.colours or classes.has_background or not names:
        return names, []
    highest = max((value for value in evidence.values if value != IGNORED), default=0)
    if classes.from_one or highest == len(names):
        why = f"{file} has no background: 0 is read as background, 1 as {names[min(names)]!r}"
        return {0: BACKGROUND, **{number + 1: name for number, name in names.items()}}, [why]
    if 0 in evidence.values and 0 in names:
        return names, [f"{file} has no background: 0 is read as {names[0]!r} ('0 _background_' makes it background)"]
    return names, []
