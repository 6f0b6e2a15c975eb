"""Pictures from files, as the model gets them, with what is to be said of them."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.config.predict import PredictConfig
from segkit.data.channels import to_grey
from segkit.data.map_place import MapPlace, read_map_place
from segkit.data.pictures import MAX_PIXELS, Header, read_header
from segkit.data.pixel_size import PixelSize, read_pixel_size
from segkit.data.pixels import decode
from segkit.data.videos import look_at_video
from segkit.data.windows import TiffWindows
from segkit.errors import InputError
from segkit.inference.choose import Choice
from segkit.inference.frames import Frames, is_video
from segkit.inference.input_files import Picture
from segkit.inference.journal import Origin, PictureResults
from segkit.inference.model import LoadedModel
from segkit.inference.notes import Notes
from segkit.inference.phases import Phases
from segkit.inference.tiled import Tiling, tiling_of
from segkit.inference.what_fits import WhatFits
from segkit.loading.whole import load_for_model, size_for_model

_RGB = 3
_MUCH_SMALLER = 4  # times: from there on, small instances may be lost
LARGEST_WHOLE = 100_000_000  # pixels of a TIFF file that is decoded whole also where it is predicted in tiles


@dataclass(frozen=True, slots=True)
class Task:
    """What pictures are predicted with.

    Attributes:
        model: The model.
        config: Tiles, the size of pixels.
        choice: Which instances are kept.
        origin: What the results depend on.
        frames: Of videos.
        fits: How large a picture the model can get whole; None: not known, or not asked for.
    """

    model: LoadedModel
    config: PredictConfig
    choice: Choice
    origin: Origin
    frames: Frames = field(default_factory=Frames)
    fits: WhatFits | None = None

    def tiling(self, height: int, width: int) -> Tiling | None:
        """How a picture is cut into tiles; None: it is predicted whole."""
        return tiling_of(self.config, self.model.card.framing, height, width, self.fits)


class Loaded(NamedTuple):
    """A picture as the model gets it.

    Attributes:
        done: The picture without results yet; None: it cannot be read, which ``notes`` say.
        image: What the model gets, or what reads its tiles.
        given: The pixels that ``image`` was made from, [H, W, C]; None where it reads tiles of a file.
        notes: What is to be said of it.
        phases: The seconds that it took so far.
    """

    done: PictureResults | None
    image: "npt.NDArray[np.uint8] | TiffWindows | InMemory | None"
    given: npt.NDArray[np.uint8] | None
    notes: Notes
    phases: Phases

    @property
    def size(self) -> int:
        """Bytes of memory that it holds."""
        shown = None if self.done is None else self.done.pixels
        arrays = {id(each): each.nbytes for each in (self.given, shown) if each is not None}
        return sum(arrays.values()) + (self.image.nbytes if isinstance(self.image, np.ndarray) else 0)


def load_picture(picture: Picture, task: Task) -> Loaded:
    """Load a picture; one that cannot be read is said in the notes."""
    notes, phases = Notes(), Phases()
    try:
        if picture.frame is not None:
            return _load_frame(picture, task, notes, phases)
        return _load(picture, task, notes, phases)
    except InputError as error:
        installs = error.hint is not None and error.hint.startswith("pip install")
        notes.cannot_be_read(picture, f"{error.message}: {error.hint}" if installs else error.message)
        return Loaded(None, None, None, notes, phases)


def _load(picture: Picture, task: Task, notes: Notes, phases: Phases) -> Loaded:
    model, config = task.model, task.config
    with phases.timed("read"):
        _check_encoding(picture)
        if is_video(picture.path):
            look_at_video(picture.path)  # says what is wrong with it
        header = read_header(picture.path)
        pixel_size = _pixel_size(picture, config, notes)
        place = _map_place(picture, config, notes)
        task.choice.check(str(picture.path), pixel_size)
        if task.tiling(*header.upright) is not None and (windows := _windows(picture, header, model)) is not None:
            notes.in_parts.append(picture.name)
            size = (windows.height, windows.width)
            done = PictureResults(picture, *size, task.origin, pixel_size=pixel_size, place=place)
            return Loaded(done, windows, None, notes, phases)
        decoded = decode(picture.path, model.card.levels, turn=True, page=picture.page or 1)
        given = decoded.pixels if model.card.channels == _RGB else _channels(picture, model)
    one = picture.page is not None or model.card.channels not in (1, _RGB)  # pages may be channels
    notes.loaded(picture.name, 1 if one else header.frames, decoded)
    height, width = decoded.pixels.shape[:2]
    done = PictureResults(
        picture, height, width, task.origin, pixels=decoded.pixels, pixel_size=pixel_size, place=place
    )  # fmt: skip
    return _for_model(done, given, task, notes, phases)


def _load_frame(picture: Picture, task: Task, notes: Notes, phases: Phases) -> Loaded:
    """Load a frame of a video."""
    channels = task.model.card.channels
    with phases.timed("read"):
        _check_encoding(picture)
        if channels not in (1, _RGB):
            raise InputError(f"{picture.file.name}: the model takes {channels} channels, and a video has three")
        task.choice.check(str(picture.path), task.config.fixed_pixel_size)
        pixels = task.frames.pixels(picture)
        given = pixels if channels == _RGB else to_grey(pixels)
    if "geojson" in task.config.formats:
        notes.no_map.append(picture.name)
    (height, width), size = pixels.shape[:2], task.config.fixed_pixel_size
    done = PictureResults(picture, height, width, task.origin, pixels=pixels, pixel_size=size)
    return _for_model(done, given, task, notes, phases)


def _for_model(
    done: PictureResults, given: npt.NDArray[np.uint8], task: Task, notes: Notes, phases: Phases
) -> Loaded:  # fmt: skip
    """A decoded picture as the model gets it, or to be read in tiles."""
    model, config = task.model, task.config
    if (smaller := _times_smaller(done.height, done.width, model)) > _MUCH_SMALLER and config.tile == "none":
        notes.shrunk.append((done.picture.name, smaller))
    if task.tiling(done.height, done.width) is not None:
        _note_memory(done, task, notes)
        return Loaded(done, InMemory(given), given, notes, phases)
    with phases.timed("resize"):
        return Loaded(done, load_for_model(given, model.card.framing), given, notes, phases)


def _note_memory(done: PictureResults, task: Task, notes: Notes) -> None:
    """Note that a picture is predicted in tiles, or in smaller ones, as it does not fit into memory whole."""
    framing = task.model.card.framing
    whole = math.prod(size_for_model(done.height, done.width, framing))
    if task.fits is not None and task.tiling(done.height, done.width) != tiling_of(
        task.config, framing, done.height, done.width
    ):
        notes.for_memory.append((done.picture.name, task.fits.describe(whole)))


def _channels(picture: Picture, model: LoadedModel) -> npt.NDArray[np.uint8]:
    """A picture as a model of other than three channels gets it, [H, W, C].

    Raises:
        InputError: It has other channels, or is a page.
    """
    if picture.page is not None and model.card.channels > 1:
        raise InputError(f"{picture.name}: the model takes {model.card.channels} channels, and a page has one")
    return decode(picture.path, model.card.levels, turn=True, page=picture.page or 1, channels=True).pixels


def _times_smaller(height: int, width: int, model: LoadedModel) -> float:
    """How many times smaller a picture is as the model gets it."""
    return height / size_for_model(height, width, model.card.framing)[0]


@dataclass(frozen=True, slots=True)
class InMemory:
    """Windows of a decoded picture, [H, W, C]."""

    pixels: npt.NDArray[np.uint8]

    def window(self, top: int, left: int, height: int, width: int) -> npt.NDArray[np.uint8]:
        """A part of it, a view."""
        return self.pixels[top : top + height, left : left + width]

    def close(self) -> None:
        """Nothing is open."""


def _windows(picture: Picture, header: Header, model: LoadedModel) -> TiffWindows | None:
    """What reads a large TIFF file in parts; None where it is decoded whole.

    Raises:
        InputError: It cannot be read in parts, and is too large to be decoded whole.
    """
    pixels = header.height * header.width
    if header.format != "TIFF" or pixels <= LARGEST_WHOLE or model.card.channels != _RGB:
        return None
    try:
        return TiffWindows(picture.path, model.card.levels, picture.page or 1)
    except InputError:
        if pixels > MAX_PIXELS:
            raise
        return None


def _pixel_size(picture: Picture, config: PredictConfig, notes: Notes) -> PixelSize | None:
    """The size of a picture's pixels, where something is measured."""
    if config.pixel_size != "auto" or not ("csv" in config.formats or config.min_area or config.max_area):
        return config.fixed_pixel_size
    try:
        size = read_pixel_size(picture.path, picture.page or 1)
    except InputError as error:
        notes.not_square.append(error.message)
        return None
    if size is not None:
        notes.sized.append((picture.name, str(size)))
    return size


def _map_place(picture: Picture, config: PredictConfig, notes: Notes) -> MapPlace | None:
    """Where a picture lies on the map, where instances are written in map coordinates.

    Raises:
        InputError: It does not say where, or in no way that can be written.
    """
    if not {"gpkg", "geojson"} & set(config.formats):
        return None
    place = read_map_place(picture.path, picture.page or 1)
    if place is None and "gpkg" in config.formats:
        raise InputError(f"{picture.path}: has no map coordinates (GeoTIFF), which --format gpkg needs")
    if place is None:
        notes.no_map.append(picture.name)
    elif place.epsg is None and "geojson" in config.formats:
        raise InputError(f"{picture.path}: its map has no EPSG number, which --format geojson needs; gpkg does not")
    return place


def _check_encoding(picture: Picture) -> None:
    """Check that JSON can hold a picture's name.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        str(picture.path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{picture.path}: its name is not UTF-8", "rename it") from error
