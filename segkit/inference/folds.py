"""The runs of all folds as one model: each image is predicted by the run that has not learnt from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.config.fields import read_toml
from segkit.errors import InputError
from segkit.formats.folds import read_folds
from segkit.inference.batches import BatchPredictor
from segkit.inference.model import LoadedModel, load
from segkit.progress import Progress
from segkit.runs.find import find_checkpoint
from segkit.runs.folder import CONFIG, ORIGIN

if TYPE_CHECKING:
    import torch

ACTIVITY = "evaluating"


class FoldsPredictor:
    """Predicts batches like ``BatchPredictor``, with the model of each image's fold.

    Attributes:
        batch: Images at once.
    """

    def __init__(self, models: Mapping[int, LoadedModel], folds: Mapping[str, int], batch: int, progress: Progress):
        """Nothing is predicted yet.

        Args:
            models: The model that has not seen a fold, by fold.
            folds: The fold of each image by its name.
            batch: Images at once.
            progress: Shows when memory allows fewer.
        """
        self._predict = {fold: model.in_batches(batch, progress, ACTIVITY) for fold, model in models.items()}
        self._folds, self.batch = folds, batch

    def __call__(self, images: Sequence[Any], names: Sequence[str]) -> list[Any]:
        """The predictions of a batch; see ``BatchPredictor``."""
        out: dict[int, Any] = {}
        for fold in sorted({self._folds[name] for name in names}):
            places = [place for place, name in enumerate(names) if self._folds[name] == fold]
            found = self._predict[fold]([images[place] for place in places], [names[place] for place in places])
            out |= zip(places, found, strict=True)
        return [out[place] for place in range(len(images))]


Predictor = BatchPredictor | FoldsPredictor


def models_of_folds(model: LoadedModel, dataset: Path, device: "torch.device | str") -> dict[int, LoadedModel]:
    """The newest run of each fold, among those beside a run of one of them.

    Args:
        model: A run of a fold.
        dataset: What it was trained on.
        device: Where models compute.

    Raises:
        InputError: A fold has no run, or one of another kind of model.
    """
    count, _ = read_folds(dataset)
    found: dict[int, tuple[int, Path]] = {}
    for config in sorted(model.path.parent.parent.glob(f"*/{CONFIG}")):
        values, run = read_toml(config), config.parent
        fold, trained_on = values.get("fold"), Path(str(values.get("dataset", "dataset")))
        if not isinstance(fold, int) or trained_on.resolve() != dataset.resolve() or run.is_symlink():
            continue
        if values.get("model", "maskrcnn") != model.card.model or not any(run.glob("*.pt")):
            continue
        origin = run / ORIGIN
        began = origin.stat().st_mtime_ns if origin.is_file() else 0
        found[fold] = max(found.get(fold, (-1, run)), (began, run))
    missing = [str(fold) for fold in range(1, count + 1) if fold not in found]
    if missing:
        raise InputError(
            f"{model.path.parent.parent}: has no run of fold {', '.join(missing)}",
            f"train one: segkit train {dataset} --fold {missing[0]}",
        )
    models = {fold: load(find_checkpoint(run), device) for fold, (_, run) in sorted(found.items())}
    for fold, each in models.items():
        if each.card.framing != model.card.framing or each.card.categories != model.card.categories:
            raise InputError(
                f"{each.path}: of fold {fold}, has other categories or another --size than {model.path}",
                "train all folds with the same options",
            )
    return models
