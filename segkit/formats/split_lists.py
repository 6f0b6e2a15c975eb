"""Lists of images that make a split: the ``.txt`` files of YOLO and VOC, and folders that a ``data.yaml`` names."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath
from unicodedata import normalize

from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.splits import split_of_name
from segkit.formats.text import read_lines

Parts = tuple[str, ...]
_MOST = 512  # MiB
_HELD_OUT_FIRST = ("test", "val", "train")
_ANCHORS = frozenset({"/", "\\", ".", ".."})


def read_list(path: Path) -> list[str]:
    """The lines of a list; a file that cannot be read has none."""
    try:
        return read_lines(path, _MOST)
    except InputError:
        return []


class SplitLists:
    """What lists say about the images of a source.

    Names of images are paths below the source with forward slashes; a list may have other folders before them (of
    another machine), other slashes, quotes, ``./``, another Unicode form.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {_parts(name): name for name in names}
        self._by_base: dict[str, list[Parts]] = defaultdict(list)
        for parts in self._names:
            self._by_base[parts[-1]].append(parts)
        self._splits: dict[str, dict[str, str]] = defaultdict(dict)  # by name: the lists, by split
        self._findings: list[Finding] = []

    def add_lines(self, split: str, where: str, lines: Sequence[str]) -> None:
        """Take the images that lines name, each one image.

        Args:
            split: Their split.
            where: The list, in findings and summaries.
            lines: Paths or names of images.
        """
        found = [self._find(line) for line in lines]
        if not any(found):  # all folders are other ones: the names of the files must do
            found = [self._only(_parts(line)[-1:]) for line in lines]
        for name in filter(None, found):
            self._splits[name].setdefault(split, where)
        if unknown := found.count(None):
            first = lines[found.index(None)]
            count = f"{unknown} of {len(lines)} lines name" if unknown > 1 or len(lines) > 1 else "its line names"
            self._findings.append(Finding(where, "noted", f"{count} no image of the source: {first[:80]!r}", shapes=0))

    def add_known(self, split: str, where: str, lines: Sequence[str]) -> bool:
        """Take the images that lines name if at least half of the lines name one: other files are no lists of images.

        Args:
            split: Their split.
            where: The list, in findings and summaries.
            lines: Paths or names of images, perhaps with 1 or -1 after them.
        """
        if not lines or 2 * sum(self._find(line) is not None for line in lines) < len(lines):
            return False
        self.add_lines(split, where, lines)
        return True

    def add_folder(self, split: str, where: str, base: str, folder: str) -> None:
        """Take the images in a folder.

        Args:
            split: Their split.
            where: The file that names the folder.
            base: The folder that it is relative to, as the file has it.
            folder: The folder.
        """
        absolute = PurePosixPath(folder).is_absolute() or PureWindowsPath(folder).is_absolute()
        parts = _parts(folder)
        tries = [_parts(base) + parts] if base and not absolute else []
        tries += [parts[at:] for at in range(len(parts) if absolute else 1)]
        for wanted in tries:
            if absolute and len(wanted) == 1 and split_of_name(wanted[0]) is None:
                continue  # `images` of /home/me/set/val/images could be any
            inside = [name for parts, name in self._names.items() if _is_in(parts, wanted)]
            if inside:
                for name in inside:
                    self._splits[name].setdefault(split, where)
                return
        self.add_missing(split, where, folder)

    def add_missing(self, split: str, where: str, path: str) -> None:
        """Note that a file names a folder or a list without images of the source."""
        self._findings.append(Finding(where, "noted", f"no image of the source is in {split}: {path[:80]}", shapes=0))

    def results(self) -> tuple[dict[str, tuple[str, str]], list[Finding]]:
        """The split of every image that is listed, and the list; and findings.

        An image in two lists is held out, so that it is not trained on; unless nothing would be left to train on. Lists
        that have the same images are no splits.
        """
        same = {frozenset(splits) for splits in self._splits.values()}
        if len(same) == 1 and len(next(iter(same))) > 1:
            where = next(iter(next(iter(self._splits.values())).values()))
            listed = " and ".join(each for each in reversed(_HELD_OUT_FIRST) if each in next(iter(same)))
            count = "1 image" if len(self._splits) == 1 else f"{len(self._splits)} images"
            why = f"leak: {listed} are the same {count}: read as a source without splits"
            return {}, [*self._findings, Finding(where, "changed", why, shapes=0)]
        for_training = [name for name, splits in self._splits.items() if "train" in splits]
        order = _HELD_OUT_FIRST
        if for_training and not any(len(self._splits[name]) == 1 for name in for_training):
            order = _HELD_OUT_FIRST[::-1]
        twice: Counter[tuple[str, str, str]] = Counter()
        results = {}
        for name, splits in self._splits.items():
            split = next(each for each in order if each in splits)
            results[name] = (split, splits[split])
            if len(splits) > 1:
                listed = " and in ".join(each for each in reversed(_HELD_OUT_FIRST) if each in splits)
                twice[splits[split], listed, split] += 1
        leaks = [
            Finding(where, "changed", f"leak: {_images(count)} listed in {listed}: kept in {split} only", shapes=0)
            for (where, listed, split), count in twice.items()
        ]
        return results, [*self._findings, *leaks]

    def _find(self, line: str) -> str | None:
        """The image that a line names: the whole line, or without quotes, without what follows the name."""
        words = line.rsplit(maxsplit=1)
        forms = [
            line,
            line.strip(),
            line.strip().strip("\"'"),
            *([words[0]] if len(words) == 2 and words[1] in ("1", "-1", "0") else []),
        ]
        for form in forms:
            parts = _parts(form)
            if parts and (name := self._only(parts) if parts in self._names else self._longest(parts)):
                return name
        return None

    def _longest(self, parts: Parts) -> str | None:
        """The image whose path ends with the parts, or that the parts end with."""
        ends = []
        for base in dict.fromkeys((parts[-1], _without_suffix(parts[-1]))):
            wanted = (*parts[:-1], base)
            for other in self._by_base.get(base, ()):
                shorter = min(len(wanted), len(other))
                if wanted[-shorter:] == other[-shorter:]:
                    ends.append((shorter, other))
        best = max((length for length, _ in ends), default=0)
        longest = [other for length, other in ends if length == best]
        return self._names[longest[0]] if len(longest) == 1 else None

    def _only(self, parts: Parts) -> str | None:
        if parts in self._names:
            return self._names[parts]
        same = self._by_base.get(parts[-1], []) if parts else []
        return self._names[same[0]] if len(same) == 1 else None


def _is_in(parts: Parts, wanted: Parts) -> bool:
    """Whether an image is in a folder, or is what a pattern such as ``images/*.jpg`` means."""
    if not any(character in part for part in wanted for character in "*?["):
        return parts[: len(wanted)] == wanted
    pattern = "/".join(part for part in wanted if part != "**")
    several = "**" in wanted
    name = "/".join(parts)
    return fnmatchcase(name, pattern) if several or len(parts) == len(wanted) else fnmatchcase(name, f"{pattern}/*")


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"


def _parts(path: str) -> Parts:
    pieces = PurePosixPath(normalize("NFC", path.replace("\\", "/"))).parts
    return tuple(piece for piece in pieces if piece not in _ANCHORS and not piece.endswith(":"))


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in PICTURE_SUFFIXES else name
