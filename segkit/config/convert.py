"""Options of ``segkit convert``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.choices import ImagePlacement
from segkit.config.fields import MOST_PROCESSES, MOST_SEED, CommandConfig, argument, option
from segkit.config.parsers import parse_encoding, parse_regex, parse_renames
from segkit.errors import ConfigError

SourceFormat = Literal[
    "auto", "labelme", "coco", "yolo", "voc", "idmask", "semantic", "csv", "via", "panoptic", "cvat", "labelstudio",
    "isat",
]  # fmt: skip
MaskKind = Literal["auto", "idmask", "semantic"]
TargetFormat = Literal["coco", "labelme", "yolo", "voc", "idmask", "semantic", "panoptic"]
IgnoreAs = Literal["drop", "crowd"]
Crowds = Literal["keep", "instances"]
Boxes = Literal["keep", "drop", "crowd"]
Raster = Literal["coco", "labelme"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertConfig(CommandConfig):
    """Options of a conversion."""

    src: str = argument(
        help="Folder of annotations (searched recursively), a file, or - to read paths from stdin.", metavar="SRC"
    )
    out: Path = option(Path("dataset"), help="Folder to write the dataset to.")
    force: bool = option(False, help="Replace the dataset in --out.")
    source_format: SourceFormat = option("auto", flag="--from", help="Format of SRC.")
    target_format: TargetFormat = option("coco", flag="--to", help="Format to write.")
    labels: Path | None = option(
        None, help="The categories, in this order: LabelMe's labels.txt, or a list of the classes in masks."
    )
    colours: Path | None = option(
        None, help="The colours of classes in coloured masks: a line for each, such as crack,128,0,0."
    )
    masks: MaskKind = option(
        "auto",
        help="What the numbers in the masks of a table (--from csv) are: instances or classes; auto: by the masks.",
    )
    boxes: Boxes = option(
        "keep",
        help="Boxes without a mask: keep, drop, or crowd (regions where nothing is learnt or scored).",
    )
    map: tuple[tuple[str, str], ...] = option(
        (), help="Rename labels: old=new,...; old= leaves a label out.", parse=parse_renames, metavar="OLD=NEW,..."
    )
    val: float | None = option(
        None,
        help="Fraction of the images for validation.  [default: the source's splits, else 0.2; 0 with --to labelme]",
        min=0.0, max=1.0,
    )  # fmt: skip
    test: float = option(0.0, help="Fraction of the images for the test split.", min=0.0, max=1.0)
    folds: int | None = option(
        None, help="Divide the training images into folds for cross-validation (train --fold K), by the same rules.",
        min=2, max=100,
    )  # fmt: skip
    group_by: str | None = option(
        None, help="Keep each group of images in one split: by folder (dir), or by what REGEX matches in the path.",
        parse=parse_regex, metavar="dir|REGEX",
    )  # fmt: skip
    group_similar: bool = option(False, help="Keep near-duplicate images in the same split.")
    keep_splits: Path | None = option(
        None, help="An earlier dataset, whose images keep their split.", complete="dataset"
    )
    seed: int = option(0, help="Random seed of the split.", max=MOST_SEED)
    images: ImagePlacement = option(
        "link",
        help="How images get into the dataset. Embedded or EXIF-rotated images are always written, except with none.",
    )
    images_dir: Path | None = option(None, help="Another folder to look for images in.")
    encoding: str | None = option(
        None, help="Encoding of texts that are not UTF-8, such as cp949.  [default: guessed from all of them]",
        parse=parse_encoding, metavar="NAME",
    )  # fmt: skip
    raster: Raster = option(
        "coco",
        help="Pixels that a LabelMe shape covers: by COCO's rule, or as LabelMe draws masks (written as RLE).",
    )
    line_width: float | None = option(None, help="Turn lines and linestrips into areas of this pixel width.", min=0.0)
    point_radius: float | None = option(None, help="Turn points into discs of this pixel radius.", min=0.0)
    hole_label: str | None = option(None, help="Cut shapes with this label out of the other shapes of their group.")
    ignore: IgnoreAs = option(
        "drop",
        help="__ignore__ regions in instance formats: leave them out, or write a COCO crowd annotation per category.",
    )
    crowds: Crowds = option("keep", help="Crowds (iscrowd 1): keep them, or make them instances.")
    drop_flag: str | None = option(None, help="Leave out images with this LabelMe flag.")
    strict: bool = option(
        False, help="Exit with code 3 if anything was lost or repaired, or a split has images of another."
    )
    dry_run: bool = option(False, help="Report only; write nothing.")
    workers: int | None = option(
        None, help="Processes that read files.  [default: by the number of files]", min=0, max=MOST_PROCESSES
    )

    def _check(self) -> None:
        if (self.val or 0.0) + self.test > 1.0:
            raise ConfigError(f"--val {self.val} and --test {self.test} are more than all images")
        if self.folds is not None and self.target_format != "coco":
            raise ConfigError(f"--folds goes with --to coco, and not with --to {self.target_format}")
        if self.images in ("reference", "none") and self.target_format not in ("coco", "labelme"):
            hint = "use link or copy"
            raise ConfigError(
                f"--images {self.images}: --to {self.target_format} needs the images in the dataset folder", hint
            )
        if self.images == "none" and self.group_similar:
            raise ConfigError("--group-similar compares images: it needs another --images than none")
