"""Batches of loaded pictures -> their results; what does not fit into memory whole is predicted in tiles."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.data.records import Image
from segkit.data.windows import TiffWindows
from segkit.errors import InputError
from segkit.inference.batches import DoesNotFit
from segkit.inference.journal import PictureResults
from segkit.inference.load import InMemory, Loaded, Task
from segkit.inference.notes import Notes
from segkit.inference.phases import Phases
from segkit.inference.segments import classes_of, segments_of
from segkit.inference.tiled import InTiles, Tiling, halves, predict_tiles
from segkit.inference.tiles import Tile
from segkit.models.tensors import ArrayPrediction, Prediction, labels_of, prediction_to_results
from segkit.progress import Progress

Found = Prediction | ArrayPrediction


class Predicted(NamedTuple):
    """The results of a picture, and the seconds that it took so far."""

    done: PictureResults
    phases: Phases

    @property
    def size(self) -> int:
        """Bytes of memory that it holds."""
        numbers = None if self.done.panoptic is None else self.done.panoptic.numbers
        return sum(each.nbytes for each in (self.done.pixels, self.done.class_map, numbers) if each is not None)


class PicturePredictor:
    """Predicts batches of pictures; from one on that does not fit into memory whole, those as large are tiled."""

    def __init__(self, task: Task, progress: Progress) -> None:
        """Nothing is predicted yet.

        Args:
            task: What pictures are predicted with.
            progress: Hears of memory that ran out, and which tile is predicted.
        """
        self._task, self._progress = task, progress
        self._predictor = task.model.in_batches(task.config.batch, progress, "predicting")
        self._too_large: int | None = None  # pixels, as the model gets them
        self._smaller: dict[Tiling, Tiling] = {}  # tiles that do not fit either, and those that replace them

    def batch(self, loaded: Sequence[Loaded], notes: Notes) -> Iterator[Predicted]:
        """The results of those pictures that could be read, in their order.

        Args:
            loaded: The pictures of a batch.
            notes: Receives what is to be said of them.

        Raises:
            DoesNotFit: A single picture needs more memory than there is, also in tiles.
        """
        whole = [each for each in loaded if each.done is not None and self._fits(each)]
        predictions = dict(zip(map(id, whole), self._whole(whole), strict=True))
        for each in loaded:
            notes.add(each.notes)
            if each.done is None:
                continue
            try:
                done = self._finish(each, each.done, predictions.get(id(each)), notes)
            except InputError as error:  # a part of its file is broken
                notes.failed.append(error.message)
                continue
            yield Predicted(done, each.phases)

    def _fits(self, loaded: Loaded) -> bool:
        image = loaded.image
        if not isinstance(image, np.ndarray):
            return False
        return self._too_large is None or image.shape[-2] * image.shape[-1] < self._too_large

    def _whole(self, loaded: Sequence[Loaded]) -> list[Found | None]:
        """The predictions of a batch; None for what does not fit into memory, even alone."""
        try:
            return list(self._together(loaded))
        except DoesNotFit:
            return [self._alone(each) for each in loaded]

    def _alone(self, loaded: Loaded) -> Found | None:
        if not self._fits(loaded):
            return None
        try:
            return self._together([loaded])[0]
        except DoesNotFit:
            assert isinstance(loaded.image, np.ndarray)
            height, width = loaded.image.shape[-2:]
            self._too_large = min(height * width, self._too_large or height * width)
            return None

    def _together(self, loaded: Sequence[Loaded]) -> list[Found]:
        images = [each.image for each in loaded if isinstance(each.image, np.ndarray)]
        names = [each.done.picture.name for each in loaded if each.done is not None]
        together = Phases()
        with together.timed("model"):
            predictions = self._predictor(images, names)
        for each in loaded:
            each.phases.seconds["model"] += together.seconds["model"] / len(loaded)
        return predictions

    def _finish(self, loaded: Loaded, done: PictureResults, prediction: Found | None, notes: Notes) -> PictureResults:
        """The results of a picture that are kept."""
        card = self._task.model.card
        if prediction is None:
            results, class_map, classes = self._tiled(loaded, done, notes)
        else:
            assert isinstance(loaded.image, np.ndarray)
            with loaded.phases.timed("encode"):
                record = Image(0, done.picture.name, done.height, done.width)
                height, width = loaded.image.shape[-2:]
                results = prediction_to_results(
                    prediction, record, height, width, card.categories, aligned_masks=card.settings.aligned_masks
                )
                class_map = prediction.get("semantic")
                classes = classes_of(prediction, card, (height, width), (done.height, done.width))
        with loaded.phases.timed("encode"):
            kept = self._task.choice.of(results, done.height, done.width, done.pixel_size)
            panoptic = None
            if classes is not None:
                panoptic = segments_of(kept, classes, card, least_score=0.0)  # they were chosen
                class_map = panoptic.label_map(labels_of(card.categories))
        if prediction is not None:
            notes.predicted(done.picture.name, len(kept))
        return replace(done, results=kept, class_map=class_map, panoptic=panoptic)

    def _tiled(self, loaded: Loaded, done: PictureResults, notes: Notes) -> InTiles:
        """The results of a picture that is too large to be predicted whole."""
        image, card = loaded.image, self._task.model.card
        if isinstance(image, np.ndarray):
            assert loaded.given is not None
            tiling: Tiling | None = halves(card.framing, done.height, done.width)
            assert tiling is not None
            self._say(done.picture.name, tiling)
            image = InMemory(loaded.given)
        else:
            tiling = self._task.tiling(done.height, done.width)
        assert image is not None
        with closing(image) as source:
            while tiling is not None:
                tiling = self._smaller.get(tiling, tiling)
                try:
                    found = self._in_tiles(done, source, tiling, loaded.phases)
                except DoesNotFit as error:
                    smaller = tiling.smaller(card.framing)
                    if smaller is None:
                        raise DoesNotFit(f"{error.message}, also in tiles", error.hint) from error
                    self._say(done.picture.name, smaller)
                    self._smaller = {key: smaller if to == tiling else to for key, to in self._smaller.items()}
                    self._smaller[tiling] = tiling = smaller
                    continue
                notes.tiled.append((done.picture.name, tiling.side))
                return found
        raise AssertionError("a picture without tiles has a prediction")

    def _say(self, name: str, tiling: Tiling) -> None:
        self._progress.note(f"out of memory while predicting {name}; going on in tiles of {tiling.side} pixels")

    def _in_tiles(
        self, done: PictureResults, picture: InMemory | TiffWindows, tiling: Tiling, phases: Phases
    ) -> InTiles:
        def window(tile: Tile) -> npt.NDArray[np.uint8]:
            return picture.window(tile.top, tile.left, tile.height, tile.width)

        return predict_tiles(
            self._task.model,
            self._predictor,
            done.picture.name,
            (done.height, done.width),
            window,
            tiling,
            self._task.choice,
            self._progress,
            phases,
        )
