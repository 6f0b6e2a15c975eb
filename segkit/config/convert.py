"""What determines a conversion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.config.fields import argument, option
from segkit.config.units import parse_renames
from segkit.errors import ConfigError

SourceFormat = Literal["auto", "labelme", "coco", "semantic"]
ImagePlacement = Literal["link", "copy", "reference"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertConfig:
    """Everything that determines a conversion."""

    src: str = argument(
        help="A folder of annotations (searched recursively), a file, or - for paths on stdin.", metavar="SRC"
    )
    out: Path = option(Path("dataset"), help="Folder that receives the dataset.")
    force: bool = option(False, help="Replace the dataset in --out.")
    source_format: SourceFormat = option("auto", flag="--from", help="Format of SRC.")
    labels: Path | None = option(None, help="LabelMe's labels.txt: the categories and their order.")
    map: tuple[tuple[str, str], ...] = option(
        (), help="Rename labels: old=new,...; old= drops it.", parse=parse_renames, metavar="OLD=NEW,..."
    )
    val: float | None = option(
        None, help="Share of images for validation.  [default: folders named train and val, else 0.2]",
        min=0.0, max=1.0,
    )  # fmt: skip
    test: float = option(0.0, help="Share of images for the test split.", min=0.0, max=1.0)
    group_by: str | None = option(
        None, help="Keep together what shares a folder (dir) or the match of a regular expression on the path.",
        metavar="dir|REGEX",
    )  # fmt: skip
    seed: int = option(0, help="Seed of the split.")
    images: ImagePlacement = option(
        "link", help="How pictures get into the dataset; embedded and EXIF-turned ones are always written."
    )
    images_dir: Path | None = option(None, help="Where else to look for pictures.")
    line_width: float | None = option(None, help="Turn lines and linestrips into strokes of this many pixels.", min=0.0)
    point_radius: float | None = option(None, help="Turn points into discs of this many pixels.", min=0.0)
    hole_label: str | None = option(None, help="Shapes of this label are cut out of the other shapes of their group.")
    drop_flag: str | None = option(None, help="Leave out images that carry this LabelMe flag.")
    strict: bool = option(False, help="Exit with 3 if anything was lost or repaired.")
    dry_run: bool = option(False, help="Only report; write nothing.")
    workers: int | None = option(None, help="Processes that read.  [default: by the number of files]", min=0)

    def __post_init__(self) -> None:
        if (self.val or 0.0) + self.test > 1.0:
            raise ConfigError(f"--val {self.val} and --test {self.test} are more than all images")
