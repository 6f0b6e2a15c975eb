"""The journal of ``predict``: a line for each finished picture, from which ``--resume`` goes on.

Of several ranks each has a journal of its own, and the first one's becomes that of all when they end. What ranks that
were killed have left is taken in by the next call.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segkit.data.files import temporary_file
from segkit.data.map_place import MapPlace
from segkit.data.panoptic_merge import Panoptic, Segment
from segkit.data.pixel_size import PixelSize
from segkit.data.records import Result
from segkit.evaluation.predicted_images import JOURNAL
from segkit.formats.coco.write import result_record
from segkit.inference.input_files import Picture, stem_of

_BLOCK = 1 << 16
_OF_RANK = ".pictures.rank-"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a picture's results depend on besides the picture: they differ, and so do the results.

    Attributes:
        model: The file of the model.
        checksum: Of that file; None in the journal of an older segkit.
        score: ``--score``: of the results that are kept; None likewise.
        options: What else says which results are kept, as typed, by the names of the options; None likewise.
    """

    model: Path
    checksum: str | None
    score: float | str | None
    options: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PictureResults:
    """The results of one picture.

    Attributes:
        picture: Its file and its names.
        height: Of the picture, upright.
        width: Likewise.
        origin: What made the results.
        results: Its instances, by falling score.
        pixel_size: Of the picture, where it is needed and known.
        pixels: RGB [H, W, 3], upright; None where it was read from the journal.
        class_map: The label of every pixel [H, W], where the model predicts one; None likewise.
        place: Where the picture lies on the map, where that is asked for and known.
        without: Formats of which it has no file, as it was read in parts.
        panoptic: Things and stuff as segments, where the model finds stuff; None likewise.
        segments: The records of these segments as COCO has them, where they are read from the journal.
        labelme: The fingerprint of the LabelMe file that was written; None: none was, or an older segkit did.
    """

    picture: Picture
    height: int
    width: int
    origin: Origin
    results: tuple[Result, ...] = ()
    pixels: npt.NDArray[np.uint8] | None = None
    class_map: npt.NDArray[np.uint8] | None = None
    panoptic: Panoptic | None = None
    segments: tuple[dict[str, Any], ...] | None = None
    pixel_size: PixelSize | None = None
    labelme: str | None = None
    place: MapPlace | None = None
    without: tuple[str, ...] = ()

    def record(self, names: dict[int, str]) -> dict[str, Any]:
        """As it is in the journal, with category names by id."""
        instances = [{"category": names[r.category_id], **result_record(r)} for r in self.results]
        for instance in instances:
            del instance["image_id"]
        return {
            "file": self.picture.name,
            "path": str(self.picture.path.absolute()),
            "stem": self.picture.stem,
            **({} if self.picture.page is None else {"page": self.picture.page}),
            **({} if self.picture.frame is None else {"frame": self.picture.frame, "time": self.picture.time}),
            "model": str(self.origin.model),
            "checksum": self.origin.checksum,
            "score": self.origin.score,
            "options": self.origin.options,
            "height": self.height,
            "width": self.width,
            "instances": instances,
            **({} if self.panoptic is None else {"segments": [segment_record(s) for s in self.panoptic.segments]}),
            **({} if self.labelme is None else {"labelme": self.labelme}),
            **({"without": list(self.without)} if self.without else {}),
        }


def segment_record(segment: Segment) -> dict[str, Any]:
    """A segment as COCO's panoptic format has it, and its score."""
    plain = {"id": segment.number, "category_id": segment.category_id, "area": segment.area}
    return plain | {"bbox": list(segment.bbox), "iscrowd": 0, "score": segment.score}


def read_journal(out: Path) -> Iterator[PictureResults]:
    """The results in an output folder, each picture once; lines that are not whole, which a crash left, are skipped."""
    path = out / JOURNAL
    if not path.is_file():
        return
    with path.open("rb") as file:
        seen = set()
        for line in file:
            if not line.endswith(b"\n") or (done := _read_line(line)) is None or done.picture.name in seen:
                continue
            seen.add(done.picture.name)
            yield done


def _read_line(line: bytes) -> PictureResults | None:
    try:
        raw = msgspec.json.decode(line)
        results = tuple(
            Result(0, i["category_id"], i["score"], i.get("bbox") and tuple(i["bbox"]), i.get("segmentation"))
            for i in raw["instances"]
        )
        name = raw["file"]
        of_file = (raw.get("page"), raw.get("frame"), raw.get("time"))
        picture = Picture(Path(raw["path"]), name, raw.get("stem", stem_of(name)), *of_file)
        origin = Origin(Path(raw["model"]), raw.get("checksum"), raw.get("score"), raw.get("options"))
        more = {"labelme": raw.get("labelme"), "without": tuple(raw.get("without", ()))}
        more["segments"] = tuple(raw["segments"]) if "segments" in raw else None
        return PictureResults(picture, raw["height"], raw["width"], origin, results, **more)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return None


def journal_of(out: Path, rank: int) -> Path:
    """The journal of a rank."""
    return out / JOURNAL if rank == 0 else out / f"{_OF_RANK}{rank}.jsonl"


def left_by_ranks(out: Path) -> list[Path]:
    """The journals of ranks other than the first."""
    return sorted(out.glob(f"{_OF_RANK}*.jsonl"))


def take_in_ranks(out: Path, order: Sequence[str], *, anyway: bool = False) -> None:
    """Make one journal of those of all ranks; where there are no others, nothing changes.

    Args:
        out: The output folder.
        order: Names of pictures, in the order in which one process predicts them; others come before them.
        anyway: Put the journal in this order also where there are no others.
    """
    if not (others := left_by_ranks(out)) and not anyway:
        return
    places = {name: place for place, name in enumerate(order)}
    lines: list[tuple[int, Path, int, int]] = []  # their places, and where they are: they need not fit into memory
    for path in (out / JOURNAL, *others):
        if path.is_file() and not path.is_symlink():
            found = _lines_of(path)
            lines += [(places.get(done.picture.name, -1), path, start, size) for done, start, size in found]
    lines.sort(key=lambda line: line[0])  # stable
    with temporary_file(out / JOURNAL) as temporary, ExitStack() as stack:
        files = {path: stack.enter_context(path.open("rb")) for path in {line[1] for line in lines}}
        merged = stack.enter_context(temporary.open("wb"))
        for _, path, start, size in lines:
            files[path].seek(start)
            merged.write(files[path].read(size))
    for path in others:
        path.unlink()


def _lines_of(path: Path) -> Iterator[tuple[PictureResults, int, int]]:
    """What each whole line says, where the line begins, and its length."""
    start = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and (done := _read_line(line)) is not None:
                yield done, start, len(line)
            start += len(line)


def videos_in(out: Path) -> Iterator[tuple[Picture, Callable[[], Iterator[PictureResults]]]]:
    """The videos of the journal in an output folder, and what reads the results of their frames in order."""
    places: dict[Picture, dict[int, int]] = {}  # of a video: where the lines of its frames begin
    path = out / JOURNAL
    for done, start, _ in _lines_of(path) if path.is_file() else ():
        if done.picture.frame is not None:
            places.setdefault(done.picture.file, {}).setdefault(done.picture.frame, start)

    def frames(starts: Iterable[int]) -> Iterator[PictureResults]:
        with path.open("rb") as file:
            for start in starts:
                file.seek(start)
                if (done := _read_line(file.readline())) is not None:
                    yield done

    for video, starts in places.items():
        yield video, partial(frames, [start for _, start in sorted(starts.items())])


def drop_torn_line(out: Path) -> None:
    """Cut off what follows the last line end: a line that is appended to half a line would be lost with it."""
    path = out / JOURNAL
    if not path.is_file():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            if (place := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + place + 1
                break
            end = start
        file.truncate(end)
