"""The files that ``predict`` writes, by format, and the journal that ``--resume`` reads."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage

from segkit.data.draw import draw_results
from segkit.data.files import relative_path, temporary_file
from segkit.data.masks import rle_area, rle_to_mask, to_rle
from segkit.data.records import Category, Image, Result
from segkit.errors import InputError
from segkit.formats.coco.write import result_record, write_coco, write_results
from segkit.formats.labelme.write import labelme_document, result_shapes, write_labelme
from segkit.text import spreadsheet_cell

JOURNAL = "pictures.jsonl"
OWN_ENTRIES = (JOURNAL, "results.json", "images.json", "instances.csv", "overlay", "labelme", "idmask")


@dataclass(frozen=True, slots=True)
class PictureResults:
    """The results of one picture.

    Attributes:
        name: Unique in the output folder.
        path: The picture file.
        height: Of the picture, upright.
        width: Likewise.
        model: The file of the model.
        results: Its instances, by falling score.
        pixels: RGB [H, W, 3], upright; None where it was read from the journal.
    """

    name: str
    path: Path
    height: int
    width: int
    model: Path
    results: tuple[Result, ...] = ()
    pixels: npt.NDArray[np.uint8] | None = None

    def record(self, names: dict[int, str]) -> dict[str, Any]:
        """As it is in the journal, with category names by id."""
        instances = [{"category": names[r.category_id], **result_record(r)} for r in self.results]
        for instance in instances:
            del instance["image_id"]
        return {
            "file": self.name,
            "path": str(self.path.absolute()),
            "model": str(self.model),
            "height": self.height,
            "width": self.width,
            "instances": instances,
        }


def read_journal(out: Path) -> Iterator[PictureResults]:
    """The results in an output folder; an incomplete last line, left by a crash, is skipped."""
    path = out / JOURNAL
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                raw = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue
            results = tuple(
                Result(0, i["category_id"], i["score"], i.get("bbox") and tuple(i["bbox"]), i.get("segmentation"))
                for i in raw["instances"]
            )
            path, model = Path(raw["path"]), Path(raw["model"])
            yield PictureResults(raw["file"], path, raw["height"], raw["width"], model, results)


class Writer:
    """Writes the results of pictures one by one; COCO and CSV files are made from the journal at the end."""

    def __init__(self, out: Path, formats: Sequence[str], categories: Sequence[Category]) -> None:
        """Open the journal of an output folder, which is made if it is missing.

        Raises:
            InputError: It cannot be written.
        """
        self._out, self._formats, self._categories = out, formats, tuple(categories)
        self._names = {category.id: category.name for category in categories}
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._journal = (out / JOURNAL).open("ab")
        except PermissionError as error:
            raise InputError(f"{out}: no permission to write there", "choose another --out") from error

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def write(self, picture: PictureResults) -> dict[str, Any]:
        """Write one picture's own files, then its record in the journal, which is returned."""
        stem = Path(picture.name).with_suffix("")
        if "overlay" in self._formats and picture.pixels is not None:
            drawn = draw_results(picture.pixels, picture.results, self._names)
            self._save(drawn, self._out / "overlay" / f"{stem}.jpg")
        if "labelme" in self._formats:
            path = self._out / "labelme" / f"{stem}.json"
            shapes = list(result_shapes(picture.results, self._names, picture.height, picture.width))
            image_path = relative_path(picture.path, path.parent)
            write_labelme(labelme_document(shapes, image_path, picture.height, picture.width), path)
        if "idmask" in self._formats:
            self._save(_id_mask(picture), self._out / "idmask" / f"{stem}.png")
        record = picture.record(self._names)
        self._journal.write(msgspec.json.encode(record) + b"\n")
        self._journal.flush()
        return record

    def _save(self, pixels: npt.NDArray[Any], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        PilImage.fromarray(pixels).save(path, quality=92)  # PNG ignores it

    def finish(self) -> tuple[dict[str, Path], dict[str, int]]:
        """Write the files that cover all pictures, reading the journal line by line so that memory does not grow.

        Returns:
            Paths by format, and the number of instances by category.
        """
        out = self._out
        files = {name: out / name for name in ("overlay", "labelme", "idmask") if name in self._formats}
        if "coco" in self._formats:
            files["coco"] = out / "results.json"
            write_results(files["coco"], (result for _, results in self._pictures() for result in results))
            write_coco(out / "images.json", (image for image, _ in self._pictures()), (), self._categories)
        if "csv" in self._formats:
            files["csv"] = out / "instances.csv"
            self._write_csv(files["csv"])
        counts = Counter(self._names[result.category_id] for _, results in self._pictures() for result in results)
        return files, {name: counts[name] for name in self._names.values()}

    def _pictures(self) -> Iterator[tuple[Image, list[Result]]]:
        """The images and results in the journal, with COCO ids from 1."""
        for number, picture in enumerate(read_journal(self._out), 1):
            image = Image(number, picture.name, picture.height, picture.width)
            yield image, [replace(result, image_id=number) for result in picture.results]

    def _write_csv(self, path: Path) -> None:
        with temporary_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["file", "category", "score", "x", "y", "width", "height", "area"])
            for image, results in self._pictures():
                for r in results:
                    area: float | str = ""
                    if r.segmentation is not None:
                        area = rle_area(to_rle(r.segmentation, image.height, image.width))
                    box = [round(value, 2) for value in r.bbox] if r.bbox is not None else [""] * 4
                    names = spreadsheet_cell(image.file_name), spreadsheet_cell(self._names[r.category_id])
                    table.writerow([*names, round(r.score, 4), *box, area])


def _id_mask(picture: PictureResults) -> npt.NDArray[np.uint16]:
    """Instance numbers from 1 in the order of the results, 0 for none; the one of the highest score is on top."""
    out = np.zeros((picture.height, picture.width), np.uint16)
    for number, result in reversed(list(enumerate(picture.results, 1))):
        if result.segmentation is not None:
            out[rle_to_mask(to_rle(result.segmentation, picture.height, picture.width)) > 0] = number
    return out
