"""What determines a conversion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.choices import ImagePlacement
from segkit.config.fields import CommandConfig, argument, option
from segkit.config.parsers import parse_renames
from segkit.errors import ConfigError

SourceFormat = Literal["auto", "labelme", "coco", "yolo", "voc", "idmask", "semantic", "via"]
TargetFormat = Literal["coco", "labelme", "yolo", "voc", "idmask", "semantic"]
IgnoreAs = Literal["drop", "crowd"]
Raster = Literal["coco", "labelme"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertConfig(CommandConfig):
    """Everything that determines a conversion."""

    src: str = argument(
        help="A folder of annotations (searched recursively), a file, or - for paths on stdin.", metavar="SRC"
    )
    out: Path = option(Path("dataset"), help="Folder that receives the dataset.")
    force: bool = option(False, help="Replace the dataset in --out.")
    source_format: SourceFormat = option("auto", flag="--from", help="Format of SRC.")
    target_format: TargetFormat = option("coco", flag="--to", help="Format of the dataset.")
    labels: Path | None = option(None, help="LabelMe's labels.txt: the categories and their order.")
    map: tuple[tuple[str, str], ...] = option(
        (), help="Rename labels: old=new,...; old= drops it.", parse=parse_renames, metavar="OLD=NEW,..."
    )
    val: float | None = option(
        None, help="Share of images for validation.  [default: the source's own splits, else 0.2; 0 to labelme]",
        min=0.0, max=1.0,
    )  # fmt: skip
    test: float = option(0.0, help="Share of images for the test split.", min=0.0, max=1.0)
    group_by: str | None = option(
        None, help="Keep together what shares a folder (dir) or the match of a regular expression on the path.",
        metavar="dir|REGEX",
    )  # fmt: skip
    group_similar: bool = option(False, help="Keep together pictures that look nearly the same.")
    keep_splits: Path | None = option(
        None, help="A dataset made before: its pictures keep the split that they have there."
    )
    seed: int = option(0, help="Seed of the split.")
    images: ImagePlacement = option(
        "link",
        help="How pictures get into the dataset; embedded and EXIF-turned ones are written unless it is none.",
    )
    images_dir: Path | None = option(None, help="Where else to look for pictures.")
    raster: Raster = option(
        "coco", help="Which pixels a LabelMe shape covers: COCO's rule, or as LabelMe draws its own masks (then RLE)."
    )
    line_width: float | None = option(None, help="Turn lines and linestrips into strokes of this many pixels.", min=0.0)
    point_radius: float | None = option(None, help="Turn points into discs of this many pixels.", min=0.0)
    hole_label: str | None = option(None, help="Shapes of this label are cut out of the other shapes of their group.")
    ignore: IgnoreAs = option(
        "drop",
        help="What becomes of __ignore__ regions in instance formats: nothing, or COCO crowds of every category.",
    )
    drop_flag: str | None = option(None, help="Leave out images that carry this LabelMe flag.")
    strict: bool = option(False, help="Exit with 3 if anything was lost or repaired.")
    dry_run: bool = option(False, help="Only report; write nothing.")
    workers: int | None = option(None, help="Processes that read.  [default: by the number of files]", min=0)

    def __post_init__(self) -> None:
        if (self.val or 0.0) + self.test > 1.0:
            raise ConfigError(f"--val {self.val} and --test {self.test} are more than all images")
        if self.images in ("reference", "none") and self.target_format not in ("coco", "labelme"):
            hint = "use link or copy"
            raise ConfigError(f"--images {self.images}: {self.target_format} finds pictures by their place", hint)
        if self.images == "none" and self.group_similar:
            raise ConfigError("--group-similar looks at pictures, and --images none has none")
