"""A picture predicted in tiles: instances merged over seams, a U-Net's maps blended."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.config.predict import PredictConfig
from segkit.data.geometry import Framing
from segkit.data.panoptic_merge import ClassMap
from segkit.data.records import Image, Result
from segkit.inference.batches import BatchPredictor, computing, memory_for
from segkit.inference.choose import Choice
from segkit.inference.model import LoadedModel
from segkit.inference.phases import Phases
from segkit.inference.segments import classes_of
from segkit.inference.tiles import Piece, Tile, merge_pieces, pieces_of, tiles_of
from segkit.inference.what_fits import WhatFits
from segkit.loading.decode import resize_rgb
from segkit.loading.whole import channels_first, load_for_model, size_for_model
from segkit.models.card import ModelCard
from segkit.models.label_instances import instances_of, num_maps
from segkit.models.tensors import ArrayPrediction, Prediction, as_array, prediction_to_results
from segkit.progress import SILENT, Progress

Pixels = npt.NDArray[np.uint8]
Window = Callable[[Tile], Pixels]  # the pixels of a tile, RGB [h, w, 3]
_LEAST_SIDE = 64  # pixels of the model; smaller tiles see too little
_LARGE = 4  # times as many pixels as the model gets: from there on, ``auto`` makes tiles


class InTiles(NamedTuple):
    """What was found of a picture in tiles.

    Attributes:
        results: Its instances.
        labels: Of a U-Net: the label of every pixel [H, W].
        classes: Of a model of things and stuff: the class of every pixel.
    """

    results: list[Result]
    labels: Pixels | None = None
    classes: ClassMap | None = None


class Tiling(NamedTuple):
    """Side of the tiles, and how much neighbours share, in pixels of the picture.

    ``scale`` times as many pixels reach the model, by side; None: the model gets each tile as it gets a picture.
    """

    side: int
    overlap: int
    scale: float | None = None

    def smaller(self, framing: Framing) -> "Tiling | None":
        """Tiles of half the side that the model sees at the same scale; None where they would be too small."""
        scale = self.scale
        if scale is None:
            scale = size_for_model(self.side, self.side, framing)[0] / self.side
        side = self.side // 2
        return Tiling(side, side // 4, scale) if side * scale >= _LEAST_SIDE else None

    def pixels(self, framing: Framing) -> int:
        """The pixels of a tile, as the model gets it."""
        if self.scale is not None:
            return round(self.side * self.scale) ** 2
        height, width = size_for_model(self.side, self.side, framing)
        return height * width


def halves(framing: Framing, height: int, width: int) -> Tiling:
    """Tiles of half the longer side of a picture, which the model gets at the scale of the whole picture."""
    model_height, model_width = size_for_model(height, width, framing)
    scale = model_height / height
    side = max(1, round(max(model_height, model_width) / scale / 2))
    return Tiling(side, side // 4, scale)


def tiling_of(
    config: PredictConfig, framing: Framing, height: int, width: int, fits: WhatFits | None = None
) -> Tiling | None:
    """How a picture is cut into tiles; None: it is predicted whole.

    ``auto`` takes tiles that the model gets at the scale of the picture, where the picture is much larger than that;
    and where memory does not suffice, smaller ones, or tiles of a picture that would be predicted whole.

    Args:
        config: Says which tiles are asked for.
        framing: How the model gets pictures.
        height: Of the picture.
        width: Likewise.
        fits: How large an image may be, for ``auto``; None: not known.
    """
    side = framing.size if config.tile == "auto" else int(config.tile) if config.tile != "none" else 0
    large = config.tile != "auto" or height * width > _LARGE * framing.size * max(framing.size, framing.max_size)
    found = None
    if side and large and (height > side or width > side):
        found = Tiling(side, min(config.overlap if config.overlap is not None else side // 4, side - 1))
    if config.tile != "auto" or fits is None:
        return found
    if found is None and math.prod(size_for_model(height, width, framing)) > fits.pixels:
        found = halves(framing, height, width)
    while found is not None and found.pixels(framing) > fits.pixels and (less := found.smaller(framing)) is not None:
        found = less
    return found


def predict_tiles(
    model: LoadedModel, predictor: BatchPredictor, name: str, size: tuple[int, int], window: Window,
    tiling: Tiling, choice: Choice, progress: Progress = SILENT, phases: Phases | None = None,
) -> InTiles:  # fmt: skip
    """The results of a picture, and what is known of every pixel.

    Args:
        model: The model.
        predictor: Its predictions, batch by batch.
        name: Of the picture, for messages.
        size: Of the picture: (height, width).
        window: Reads tiles.
        tiling: How it is cut.
        choice: Its scores choose before pieces are merged.
        progress: Hears which tile is predicted.
        phases: Receives how long each phase takes.

    Raises:
        DoesNotFit: A single tile needs more memory than there is.
    """
    tiles, phases = tiles_of(*size, tiling.side, tiling.overlap), phases or Phases()
    if model.maps is not None:
        return _blended(model, name, size, window, tiles, phases)
    pieces: list[Piece] = []
    seams = _Seams(model.card, size)
    for start in range(0, len(tiles), predictor.batch):
        part = tiles[start : start + predictor.batch]
        progress.alive(f"{name}, tile {start + 1} of {len(tiles)}")
        images = [_for_model(window, tile, model.card.framing, tiling.scale, phases) for tile in part]
        names = [f"{name}, tile {number} of {len(tiles)}" for number in range(start + 1, start + len(part) + 1)]
        with phases.timed("model"):
            predictions = predictor(images, names)
        with phases.timed("encode"):
            for number, (tile, image, found) in enumerate(zip(part, images, predictions, strict=True), start):
                record = Image(0, name, tile.height, tile.width)
                results = _results(found, record, tuple(image.shape[-2:]), model)
                seams.add(tile, found, (image.shape[-2], image.shape[-1]))
                pieces += pieces_of(number, tile, [r for r in results if choice.is_certain(r)], *size)
    with phases.timed("encode"):
        return InTiles(merge_pieces(pieces, tiles, *size), None, seams.classes())


class _Seams:
    """The classes of a picture's pixels from those of its tiles: each pixel has that of the tile it lies deepest in."""

    def __init__(self, card: ModelCard, size: tuple[int, int]) -> None:
        self._card, self._size = card, size
        self._found: ClassMap | None = None
        self._depth = np.zeros((0, 0), np.float32)

    def add(self, tile: Tile, prediction: Prediction | ArrayPrediction, model_size: tuple[int, int]) -> None:
        """Take what a model of stuff predicts of a tile; of other models there is nothing."""
        own = classes_of(prediction, self._card, model_size, (tile.height, tile.width))
        if own is None:
            return
        if self._found is None:
            self._found = ClassMap(np.zeros(self._size, np.uint8), np.zeros(self._size, np.float32))
            self._depth = np.zeros(self._size, np.float32)
        here = np.s_[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        depth = _weights(tile, self._size)
        deeper = depth > self._depth[here]
        self._found.classes[here][deeper] = own.classes[deeper]
        self._found.probability[here][deeper] = own.probability[deeper]
        self._depth[here][deeper] = depth[deeper]

    def classes(self) -> ClassMap | None:
        """Those of the picture."""
        return self._found


def _results(
    found: Prediction | ArrayPrediction, record: Image, size: tuple[int, ...], model: LoadedModel
) -> list[Result]:
    card = model.card
    return prediction_to_results(
        found, record, size[0], size[1], card.categories, aligned_masks=card.settings.aligned_masks
    )


def _for_model(window: Window, tile: Tile, framing: Framing, scale: float | None, phases: Phases) -> Pixels:
    """A tile as the model gets it."""
    with phases.timed("read"):
        pixels = window(tile)
    with phases.timed("resize"):
        if scale is None:
            return load_for_model(pixels, framing)
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        return channels_first(resize_rgb(pixels, height, width))


def _blended(
    model: LoadedModel, name: str, size: tuple[int, int], window: Window, tiles: Sequence[Tile], phases: Phases
) -> InTiles:
    """The same of a U-Net: its maps are a mean over tiles, weighted by the distance from the edges of each."""
    height, width = size
    labels = np.zeros(size, np.uint8)
    confidence = np.zeros(size, np.float16)
    distances = np.zeros(size, np.float16) if model.card.unet.instances == "distance" else None
    for top, sums in _bands(model, name, size, window, tiles, phases):
        maps, rows = sums[:-1] / sums[-1], np.s_[top : top + sums.shape[1]]
        if distances is not None:
            maps, distances[rows] = maps[:-1], maps[-1]
        labels[rows], confidence[rows] = maps.argmax(axis=0), maps.max(axis=0)
    with phases.timed("encode"):
        found = instances_of(labels, confidence, distances)
        return InTiles(_results(found, Image(0, name, height, width), size, model), labels)


def _bands(
    model: LoadedModel, name: str, size: tuple[int, int], window: Window, tiles: Sequence[Tile], phases: Phases
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Rows of the picture, from the top, as soon as no further tile reaches them.

    Yields:
        The first row, and weighted sums of maps and of weights, [M + 1, rows, W].
    """
    assert model.maps is not None
    height, width = size
    maps_of = computing(model.maps, model.device)
    tops = sorted({tile.top for tile in tiles})
    depth = num_maps(len(model.card.categories), model.card.unet.instances) + 1
    open_rows = np.zeros((depth, 0, width), np.float32)
    for number, top in enumerate(tops):
        row = [tile for tile in tiles if tile.top == top]
        more = np.zeros((depth, row[0].height - open_rows.shape[1], width), np.float32)
        open_rows = np.concatenate([open_rows, more], axis=1)
        for tile in row:
            image = _for_model(window, tile, model.card.framing, None, phases)
            with phases.timed("model"), memory_for(f"{name}, a tile", image):
                (found,) = maps_of([image])
            weights = _weights(tile, size)
            part = open_rows[:, :, tile.left : tile.left + tile.width]
            part[:-1] += as_array(found) * weights
            part[-1] += weights
        ready = (tops[number + 1] if number + 1 < len(tops) else height) - top
        yield top, open_rows[:, :ready]
        open_rows = open_rows[:, ready:].copy()


def _weights(tile: Tile, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """How much the pixels of a tile count, [h, w]: less towards edges beyond which the picture goes on."""
    rows = _ramp(tile.height, tile.top > 0, tile.top + tile.height < size[0])
    columns = _ramp(tile.width, tile.left > 0, tile.left + tile.width < size[1])
    return rows[:, None] * columns[None, :]


def _ramp(length: int, before: bool, after: bool) -> npt.NDArray[np.float32]:
    places = np.arange(length, dtype=np.float32)
    up = places + 1 if before else np.full(length, length, np.float32)
    down = length - places if after else np.full(length, length, np.float32)
    return np.asarray(np.minimum(up, down) / length, np.float32)
