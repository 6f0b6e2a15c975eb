"""What to do after an evaluation: sentences with commands that can be copied."""

import shlex
from collections.abc import Iterator
from typing import Any

from segkit.evaluation.analysis.tide import ERROR_TYPES
from segkit.evaluation.metrics import Metrics
from segkit.next_step import PICTURES, NextStep
from segkit.units import format_score

_LEAST_WORTH = 0.02  # of a score: less is not worth a word
_ADVICE = {
    "class": "an object is found, and its category is wrong: look for annotations with the wrong category",
    "localisation": "objects are found, and their outlines are not close enough: look for loose outlines; more steps, "
    "or a larger --size in training, make outlines sharper",
    "both": "category and outline are wrong: train longer, or with more annotated pictures",
    "duplicate": "an object is found twice: a higher --score, or a lower --nms of predict",
    "background": "things are found that nobody annotated: look whether annotations are missing there",
    "missed": "objects are not found: annotate more pictures like the worst ones",
}


def next_steps(metrics: Metrics) -> list[NextStep]:
    """What an evaluation suggests: a threshold, the errors that cost most, annotations to check, pictures to annotate.

    Args:
        metrics: With ``about``, without which no command can be named.
    """
    if metrics.about is None or metrics.agreement is not None:
        return []
    return list(_steps(metrics, metrics.about))


def _steps(metrics: Metrics, about: dict[str, Any]) -> Iterator[NextStep]:
    subject, is_model = shlex.quote(about["subject"]["file"]), "architecture" in about["subject"]
    instances = metrics.segm is not None or metrics.bbox is not None
    if metrics.details is not None:
        yield from _threshold(metrics.details, about, subject, is_model)
        yield from _costliest(metrics.details)
    elif instances or metrics.semantic is not None:
        data = "" if is_model and about["data"]["split"] else f" --data {shlex.quote(about['data']['file'])}"
        split = about["data"]["split"]
        data += f" --split {split}" if is_model and split not in (None, "val") else ""
        yield NextStep("See where the errors are, with pictures.", f"segkit eval {subject}{data} --report")
    if instances and metrics.details is not None:
        model = f"--model {subject}" if is_model else f"--predictions {subject}"
        yield NextStep(
            "Look for annotation errors: what the predictions do not agree with, the most certain first.",
            f"segkit check {shlex.quote(about['data']['file'])} {model}{_pictures_of(about)} --out check",
        )
    if is_model and instances and metrics.details is not None:
        yield NextStep(
            f"Annotate more: of the pictures in your folder {PICTURES}, the 20 that would teach the model most.",
            f"segkit label {PICTURES} --next 20 --model {subject}",
        )
    if is_model and not instances and metrics.semantic is not None:
        yield NextStep("Predict other pictures.", f"segkit predict {PICTURES} --model {subject}")


def _pictures_of(about: dict[str, Any]) -> str:
    """The option that says where the images are, if it was given."""
    folder = about["options"].get("images_dir")
    return "" if folder is None else f" --images-dir {shlex.quote(folder)}"


def _threshold(details: dict[str, Any], about: dict[str, Any], subject: str, is_model: bool) -> Iterator[NextStep]:
    """The score threshold of the best F1, where it is worth more than the one that was used."""
    best, overall = details["overall"]["best"], details["overall"]
    if not best or not best["F1"]:
        yield NextStep(
            "No detection is a true positive, at any score: train longer, and look at the samples of the run."
        )
        return
    gain = format_score(best["F1"])
    if best["F1"] - overall["F1"] > _LEAST_WORTH:
        gain += f" instead of {format_score(overall['F1'])} at {details['score']:g}"
    if is_model:
        command = f"segkit predict {PICTURES} --model {subject} --score {best['score']!r}"
        yield NextStep(f"Predict your folder {PICTURES} with the score threshold of the best F1 ({gain}).", command)
    else:
        data = shlex.quote(about["data"]["file"]) + _pictures_of(about)
        command = f"segkit eval {subject} --data {data} --score {best['score']!r} --report"
        yield NextStep(f"See the errors at the score threshold of the best F1 ({gain}).", command)


def _costliest(details: dict[str, Any]) -> Iterator[NextStep]:
    """The type of errors that costs most AP50."""
    cost = details["mistakes"]["AP50_cost"]
    kind = max(ERROR_TYPES, key=lambda each: cost[each])
    if cost[kind] > _LEAST_WORTH:
        yield NextStep(f"Most AP50 is lost to errors of the type {kind} ({cost[kind]:.3f}): {_ADVICE[kind]}.")
