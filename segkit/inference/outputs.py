"""The files that ``predict`` writes, by format."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt
from PIL import Image as PilImage

from segkit.data.files import check_links, fingerprint, named_when_full, path_inside, relative_path, temporary_file
from segkit.data.overlay import category_colours, class_map_picture, draw_overlay
from segkit.data.pictures import MOST_OF_JPEG
from segkit.data.records import Category, Image, Result
from segkit.errors import InputError
from segkit.evaluation.predicted_images import JOURNAL
from segkit.formats.coco.write import write_coco, write_results
from segkit.formats.labelme.write import labelme_content, labelme_document, result_shapes
from segkit.formats.map_files import geopackage, map_geojson
from segkit.formats.outlines import qupath_document, write_imagej
from segkit.inference.annotated import Style, write_videos
from segkit.inference.crops import write_crops
from segkit.inference.journal import PictureResults, journal_of, read_journal
from segkit.inference.measure import measure_picture
from segkit.inference.number_maps import PANOPTIC, id_mask, segments_picture, write_panoptic
from segkit.inference.output_files import ENDINGS, FOLDERS, FRAMES
from segkit.inference.tables import FILES as TABLES
from segkit.inference.tables import Measured, write_tables
from segkit.progress import SILENT, Progress
from segkit.units import counted

_OF_PIXELS = ("overlay", "crops")  # what needs the whole picture


class Writer:
    """Writes the results of pictures one by one; COCO files and tables are made from the journal at the end.

    Attributes:
        notes: What is to be said of the files when all are written.
        kept: LabelMe files that were there with other content, and were not replaced.
    """

    def __init__(
        self,
        out: Path,
        formats: Sequence[str],
        categories: Sequence[Category],
        style: "Style | None" = None,
        rank: int = 0,
        stuff: frozenset[int] = frozenset(),
    ) -> None:
        """Open the journal of an output folder, which is made if it is missing.

        Args:
            out: The output folder.
            formats: What is written: ``csv`` needs ``measures``.
            categories: Of the model.
            style: Of overlays and tables; None: as by default.
            rank: Of several processes; each has a journal of its own.
            stuff: Ids of the categories that are stuff.

        Raises:
            InputError: It cannot be written, or a link leads out of the folder.
        """
        self._path = journal_of(out, rank)
        for name in formats:
            if name in ENDINGS:  # before anything is predicted
                check_links(out / name / "any", out)
        if self._path.is_symlink():
            raise InputError(f"{self._path}: is a link, which is not written through", "remove it")
        self._out, self._formats, self._categories = out, formats, tuple(categories)
        self._names = {category.id: category.name for category in categories}
        self._style, self._stuff = style or Style(), stuff
        self.notes: list[str] = []
        self.kept: list[str] = []
        try:
            out.mkdir(parents=True, exist_ok=True)
            self.open()
        except PermissionError as error:
            raise InputError(f"{out}: no permission to write there", "choose another --out") from error

    def open(self) -> None:
        """Open the journal, to go on with it."""
        self._journal = self._path.open("ab")

    def close(self) -> None:
        """Close the journal."""
        with named_when_full(self._path):
            self._journal.close()

    def write(self, done: PictureResults) -> dict[str, Any]:
        """Write one picture's own files, then its record in the journal, which is returned."""
        record = self.write_files(done)
        self.enter(record)
        return record

    def enter(self, record: dict[str, Any]) -> None:
        """Write the record of a picture, whose files are there, into the journal."""
        with named_when_full(self._path):
            self._journal.write(msgspec.json.encode(record) + b"\n")
            self._journal.flush()

    def write_files(self, done: PictureResults) -> dict[str, Any]:
        """Write one picture's own files, which several threads may do at once; returns its record."""
        stem = done.picture.stem
        if done.pixels is None:
            done = replace(done, without=tuple(name for name in _OF_PIXELS if name in self._formats))
        if "overlay" in self._formats and done.pixels is not None and done.picture.frame is None:
            style = self._style
            drawn = draw_overlay(done.pixels, done.results, self._names, style.tags, style.line_width, done.class_map)
            self._save(drawn, f"overlay/{stem}.jpg")
        if "labelme" in self._formats:
            done = replace(done, labelme=self._write_labelme(done, self._out / "labelme" / f"{stem}.json"))
        if "idmask" in self._formats:
            self._save(id_mask(done), f"idmask/{stem}.png")
        if "panoptic" in self._formats and done.panoptic is not None:
            self._save(segments_picture(done.panoptic), f"panoptic/{stem}.png")
        if "classmap" in self._formats and done.class_map is not None:
            with temporary_file(self._out / "classmap" / f"{stem}.png", inside=self._out) as temporary:
                class_map_picture(done.class_map, self._names).save(temporary, "PNG")
        self._write_for_others(done)
        if "measures" in self._formats:
            with temporary_file(self._out / "measures" / f"{stem}.json", inside=self._out) as temporary:
                temporary.write_bytes(msgspec.json.encode(measure_picture(done, self._names)))
        return done.record(self._names)

    def _write_for_others(self, done: PictureResults) -> None:
        """Write what other programs read."""
        stem, frame = done.picture.stem, (self._names, done.height, done.width)
        if "imagej" in self._formats:
            with temporary_file(self._out / "imagej" / f"{stem}.zip", inside=self._out) as temporary:
                write_imagej(temporary, done.results, *frame)
        if "qupath" in self._formats:
            self._write_bytes(self._qupath(done), f"qupath/{stem}.geojson")
        if "geojson" in self._formats:
            content = map_geojson(done.results, *frame, done.place) if done.place is not None else self._qupath(done)
            self._write_bytes(content, f"geojson/{stem}.geojson")
        if "gpkg" in self._formats and done.place is not None:
            layer = stem.rpartition("/")[2]
            self._write_bytes(geopackage(done.results, *frame, done.place, layer), f"gpkg/{stem}.gpkg")
        if "crops" in self._formats and done.pixels is not None:
            with temporary_file(self._out / "crops" / f"{stem}.zip", inside=self._out) as temporary:
                write_crops(temporary, done, self._names)

    def _qupath(self, done: PictureResults) -> bytes:
        colours = category_colours(self._names)
        frame = (done.height, done.width)
        return msgspec.json.encode(qupath_document(done.results, self._names, colours, done.picture.name, *frame))

    def _write_bytes(self, content: bytes, name: str) -> None:
        with temporary_file(self._out / name, inside=self._out) as temporary:
            temporary.write_bytes(content)

    def _save(self, pixels: npt.NDArray[Any], name: str) -> None:
        kind = "JPEG" if name.endswith(".jpg") else "PNG"
        with temporary_file(self._out / name, inside=self._out) as temporary:
            picture = PilImage.fromarray(pixels)
            if kind == "JPEG" and max(picture.size) > MOST_OF_JPEG:
                picture.thumbnail((MOST_OF_JPEG, MOST_OF_JPEG))
                note = (
                    f"overlays of pictures with more than {MOST_OF_JPEG} pixels on a side are smaller: JPEG has no more"
                )
                self.notes += [note] if note not in self.notes else []
            picture.save(temporary, kind, quality=92)  # PNG ignores it

    def _write_labelme(self, done: PictureResults, path: Path) -> str | None:
        """Write a LabelMe file and return its fingerprint; None: one with other content is there, and stays."""
        drawn = (*(done.panoptic.stuff() if done.panoptic is not None else ()), *done.results)
        shapes = list(result_shapes(drawn, self._names, done.height, done.width, self._style.tolerance))
        image_path = relative_path(done.picture.path, path.parent)
        content = labelme_content(labelme_document(shapes, image_path, done.height, done.width))
        if path.is_file() and path.read_bytes() != content:
            self.kept.append(path.relative_to(self._out).as_posix())
            return None
        with temporary_file(path, inside=self._out) as temporary:
            temporary.write_bytes(content)
        return fingerprint(content)

    def finish(self, progress: Progress = SILENT) -> tuple[dict[str, Path], dict[str, int]]:
        """Write the files that cover all pictures, reading the journal line by line so that memory does not grow.

        Args:
            progress: Shows how many frames of annotated videos are written.

        Returns:
            Paths by format, and the number of instances by category.
        """
        out = self._out
        files = {name: out / name for name in FOLDERS if name in self._formats}
        if write_videos(out, self._formats, self._names, self._style, self.notes, progress):
            files[FRAMES] = out / FRAMES
        if "coco" in self._formats:
            files["coco"] = out / "results.json"
            write_results(files["coco"], (result for _, results in self._pictures() for result in results))
            write_coco(out / "images.json", (image for image, _ in self._pictures()), (), self._categories)
        if "panoptic" in self._formats:
            files["panoptic"] = out / PANOPTIC
            self._write_panoptic()
        if "csv" in self._formats:
            files["csv"] = out / TABLES[0]
            self._write_tables()
        if self.kept:
            first, more = min(self.kept), len(self.kept) - 1
            self.notes.append(
                f"{first}: was not written by this prediction, perhaps a person has corrected it: it stays as it is"
                + (f" (and {more} more such files)" if more else "")
            )
        counts = Counter(self._names[result.category_id] for _, results in self._pictures() for result in results)
        return files, {name: counts[name] for name in self._names.values()}

    def _write_panoptic(self) -> None:
        """Write the annotation file of the panoptic PNGs."""
        missing = write_panoptic(self._out / PANOPTIC, read_journal(self._out), self._categories, self._stuff)
        if missing:
            have = counted(missing, "picture of earlier calls has", "pictures of earlier calls have")
            self.notes.append(f"{PANOPTIC}: {have} no segments: left out")

    def _pictures(self) -> Iterator[tuple[Image, list[Result]]]:
        """The images and results in the journal, with COCO ids from 1.

        Raises:
            InputError: The journal has a category that the model does not have: it was changed.
        """
        for number, done in enumerate(read_journal(self._out), 1):
            if unknown := {result.category_id for result in done.results} - self._names.keys():
                why = f"{done.picture.name} has category_id {min(unknown, key=str)}, which the model does not have"
                raise InputError(f"{self._out / JOURNAL}: {why}", "predict again with --force")
            image = Image(number, done.picture.name, done.height, done.width)
            yield image, [replace(result, image_id=number) for result in done.results]

    def _write_tables(self) -> None:
        """Write the tables of measures, and note what overlaps."""
        overlap = write_tables(
            self._out, self._measured, list(self._names.values()), without_cut=self._style.without_cut
        )
        if overlap:
            self.notes.append(
                f"instances overlap in {overlap} pixels, which the id mask gives to the one with the higher score; "
                "areas count them for each (overlap_px2)"
            )
        if missing := sum(not self._measures_of(done).is_file() for done in read_journal(self._out)):
            were = counted(missing, "picture of earlier calls was", "pictures of earlier calls were")
            self.notes.append(f"{TABLES[1]}: {were} not measured: left out")

    def _measured(self) -> Iterator[Measured]:
        """What was measured in each picture of the journal."""
        for done in read_journal(self._out):
            if (path := self._measures_of(done)).is_file():
                yield msgspec.json.decode(path.read_bytes())

    def _measures_of(self, done: PictureResults) -> Path:
        return path_inside(self._out, f"measures/{done.picture.stem}.json")
