"""How a model and its file score on a dataset."""

from dataclasses import dataclass

import torch

from segkit.data.records import Dataset
from segkit.errors import SegkitError
from segkit.inference.batches import BatchPredictor, Predict
from segkit.inference.score import ScoreOptions, score
from segkit.models.card import ModelCard
from segkit.progress import SILENT, Progress
from segkit.runtime.ranks import by_itself
from segkit.runtimes.exported import ExportedModel


@dataclass(frozen=True, slots=True)
class ScorePair:
    """The score of a model and of its file on the same images.

    Attributes:
        name: What it is: ``mask AP``, ``box AP`` or ``mIoU``.
        images: Number of images.
        source: Of the model.
        exported: Of the file.
    """

    name: str
    images: int
    source: float
    exported: float

    def check(self, most: float, out: object) -> None:
        """Refuse a file that scores less.

        Args:
            most: The largest loss that is allowed.
            out: The file.

        Raises:
            SegkitError: It loses more.
        """
        loss = self.source - self.exported
        if not loss <= most:
            raise SegkitError(
                f"{out}: its {self.name} is {self.exported:.4f}, and that of the original {self.source:.4f}",
                f"nothing was written; accept a loss of {loss:.4f} with --tolerance (now {most:g})",
            )


def score_of(predict: Predict, card: ModelCard, dataset: Dataset, progress: Progress = SILENT) -> tuple[str, float]:
    """What a model scores, and what that score is called.

    Args:
        predict: The model.
        card: Its card.
        dataset: Images and annotations.
        progress: Shows how many images are done.

    Raises:
        SegkitError: The dataset gives no score.
    """
    device = None if isinstance(predict, ExportedModel) else torch.device("cpu")
    predictor = BatchPredictor(predict, device, 1, progress)
    metrics = score(predictor, card, dataset, by_itself(), ScoreOptions(), progress).metrics
    name, value = metrics.primary()
    if not 0 <= value <= 1:
        why = "the dataset gives no score: it has no annotations of the model's categories"
        raise SegkitError(why, "name another one: --data")
    return name, value
