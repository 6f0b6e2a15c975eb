"""Folds for cross-validation: every training image is in one, and a run validates with one of them."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from training import config, lines

from segkit.conversion.split import SplitImage, assign_folds
from segkit.errors import InputError
from segkit.formats.folds import open_fold, read_folds
from segkit.inference.folds import FoldsPredictor, models_of_folds
from segkit.inference.model import load
from segkit.progress import SILENT
from segkit.training.train import train


def images(count):
    return [SplitImage(f"d{n // 4}/{n}.png", ["a"] * (n % 3 + 1) + ["rare"] * (n % 6 == 0)) for n in range(count)]


def test_folds_are_equal_in_images_and_in_every_category():
    some = images(60)
    folds = assign_folds(some, 5, None, seed=3)
    assert sorted(Counter(folds).values()) == pytest.approx([12] * 5, abs=2)
    rare = Counter(fold for fold, image in zip(folds, some, strict=True) if "rare" in image.labels)
    assert rare == dict.fromkeys(range(1, 6), 2)
    assert folds == assign_folds(some, 5, None, seed=3)
    assert folds != assign_folds(some, 5, None, seed=4)


def test_a_group_is_in_one_fold_and_too_few_groups_are_refused():
    some = images(40)
    folds = assign_folds(some, 3, "dir", seed=0)
    for folder in {image.key.split("/")[0] for image in some}:
        assert len({fold for fold, image in zip(folds, some, strict=True) if image.key.startswith(f"{folder}/")}) == 1
    with pytest.raises(InputError, match="--folds 12: too many for 10 images or groups of images"):
        assign_folds(some, 12, "dir", seed=0)
    with pytest.raises(InputError, match="--folds 2: too many for 1 images or groups of images") as raised:
        assign_folds(some[:1], 2, None, seed=0)
    assert "--folds" not in str(raised.value.hint)


@pytest.fixture(scope="module")
def folded(parts, tmp_path_factory):
    """The folder ``parts`` in three folds."""
    from segkit.cli import main

    out = tmp_path_factory.mktemp("folds") / "dataset"
    assert main(["convert", str(parts), "--out", str(out), "--val", "0.25", "--folds", "3", "--quiet"]) == 0
    return out


def test_every_training_image_is_validated_once(folded):
    names = [image["file_name"] for image in json.loads((folded / "train.json").read_text())["images"]]
    count, folds = read_folds(folded)
    assert count == 3
    assert sorted(folds) == sorted(names)
    held = []
    for fold in (1, 2, 3):
        training, val = open_fold(folded, fold)
        held += [image.file_name for image in val.images]
        assert {i.file_name for i in training.images} == set(names) - {i.file_name for i in val.images}
        ids = {image.id for image in training.images}
        assert all(annotation.image_id in ids for annotation in training.annotations)
    assert sorted(held) == sorted(names)


def test_the_report_has_what_is_in_each_fold(folded):
    report = json.loads((folded / "report.json").read_text())
    assert list(report["folds"]) == ["1", "2", "3"]
    for fold, counts in report["folds"].items():
        _, val = open_fold(folded, int(fold))
        assert counts["images"] == len(val.images)
        assert counts["instances"] == len(val.annotations)
    assert sum(each["images"] for each in report["folds"].values()) == report["splits"]["train"]["images"]


def test_a_run_of_a_fold_resumes_and_is_scored_on_that_fold(folded, tmp_path, segkit):
    run = train(config(folded, tmp_path, model="unet", backbone="mobilenet_v3_large", fold=2, steps=2)).run
    held = len(open_fold(folded, 2)[1].images)
    assert lines(run, "eval")[-1]["images"] == held
    assert segkit("train", "--resume", run, "--steps", 3).code == 0
    outcome = segkit("eval", run, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["images"] == held
    assert segkit("train", folded, "--fold", 4, "--device", "cpu", "--out", tmp_path).err.count("has folds 1 to 3") == 1
    (tmp_path / "none").mkdir()
    (tmp_path / "none/train.json").write_text((folded / "train.json").read_text())
    outcome = segkit("train", tmp_path / "none", "--fold", 1, "--device", "cpu", "--out", tmp_path)
    assert "has no folds" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_all_folds_are_scored_together_each_image_by_the_run_that_has_not_seen_it(folded, tmp_path, segkit):
    """One score for every training image; with an interval by --details; a fold without a run is named."""
    some = {"model": "unet", "backbone": "mobilenet_v3_large", "steps": 1}
    runs = {fold: train(config(folded, tmp_path, fold=fold, name=f"f{fold}", **some)).run for fold in (1, 3)}
    outcome = segkit("eval", runs[1], "--folds")
    assert outcome.code == 1
    assert "has no run of fold 2" in outcome.err
    runs[2] = train(config(folded, tmp_path, fold=2, name="f2", **some)).run
    device = torch.device("cpu")
    models = models_of_folds(load(runs[1], device), folded, device)
    assert {fold: model.path.parent.name for fold, model in models.items()} == {1: "f1", 2: "f2", 3: "f3"}
    outcome = segkit("eval", runs[1], "--folds", "--details", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["images"] == len(read_folds(folded)[1])
    assert "trained on" not in outcome.err
    assert (runs[1] / "eval-folds/metrics.json").is_file()

    def marked(fold):
        return replace(models[fold], predict=lambda images: [{"boxes": torch.full((1, 4), float(fold))}] * len(images))

    names = read_folds(folded)[1]
    predictor = FoldsPredictor({fold: marked(fold) for fold in models}, names, 4, SILENT)
    found = predictor([torch.zeros(3, 32, 32, dtype=torch.uint8)] * len(names), list(names))
    assert [each["boxes"][0, 0].item() for each in found] == list(names.values())
