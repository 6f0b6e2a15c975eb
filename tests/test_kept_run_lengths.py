"""Run lengths that are kept beside an annotation file: the same scores, whatever becomes of the two files."""

import json

import numpy as np
import pytest
from coco_pairs import random_pair
from test_evaluate_together import annotation

from segkit.config.evaluate import EvalConfig
from segkit.evaluation import results_file
from segkit.evaluation.coco import fast_path, kept_run_lengths

KEPT = ".t.json.runs"


@pytest.fixture
def read(monkeypatch):
    """Keeps run lengths of any number of polygons; what the engine reads is added to the list."""
    paths, evaluate_files = [], results_file.evaluate_files
    monkeypatch.setattr(fast_path, "LEAST", 1)
    monkeypatch.setattr(
        results_file, "evaluate_files", lambda *args: (paths.append(args[0]), evaluate_files(*args))[1]
    )  # fmt: skip
    return paths


def pair(folder, seed):
    """Two files that need no correction, and have polygons."""
    truth, results = random_pair(np.random.default_rng(seed), images=5)
    first = truth["images"][0]["id"]
    truth["annotations"].append(annotation(1000, first, 1, 2, 3, 15))
    for each in truth["annotations"]:
        if isinstance(each["segmentation"], list):
            each["segmentation"] = [part for part in each["segmentation"] if len(part) >= 6]
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "r.json").write_text(json.dumps(results))
    return truth


def scores(folder):
    metrics = results_file.evaluate_results(EvalConfig(subject=folder / "r.json", data=folder / "t.json")).metrics
    return metrics.segm, metrics.bbox, metrics.warnings


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_the_same_to_the_last_bit(tmp_path, read, seed):
    pair(tmp_path, seed)
    first, second = scores(tmp_path), scores(tmp_path)
    assert first == second
    assert read == [str(tmp_path / "t.json")] * 2 + [str(tmp_path / KEPT)] * 2
    kept = json.loads((tmp_path / KEPT).read_text())["annotations"]
    own = json.loads((tmp_path / "t.json").read_text())["annotations"]
    assert all(isinstance(each["segmentation"]["counts"], str | list) for each in kept)
    for name in ("id", "image_id", "category_id", "area", "iscrowd", "bbox"):
        assert [each[name] for each in kept] == [each[name] for each in own]


def test_a_file_that_has_changed_is_read_itself(tmp_path, read):
    truth = pair(tmp_path, 1)
    before = scores(tmp_path)
    truth["annotations"] = truth["annotations"][1:]
    (tmp_path / "t.json").write_text(json.dumps(truth))
    after = scores(tmp_path)
    assert after[0] != before[0]
    assert read[2:] == [str(tmp_path / "t.json")] * 2
    assert scores(tmp_path) == after
    assert read[4:] == [str(tmp_path / KEPT)] * 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "zeros", "folder", "of another version"])
def test_a_file_that_is_not_whole_is_not_taken(tmp_path, read, damage):
    pair(tmp_path, 2)
    before, path = scores(tmp_path), tmp_path / KEPT
    content = path.read_bytes()
    place = content.index(b'"area":') + 7
    match damage:
        case "cut":
            path.write_bytes(content[:-50])
        case "changed":
            path.write_bytes(content[:place] + b"9" + content[place + 1 :])
        case "empty":
            path.write_bytes(b"")
        case "zeros":
            path.write_bytes(bytes(len(content)))
        case "folder":
            path.unlink()
            path.mkdir()
        case _:
            path.write_bytes(content.replace(b'"version":1', b'"version":0'))
    assert scores(tmp_path) == before
    assert read[2:] == [str(tmp_path / "t.json")] * 2
    assert damage == "folder" or path.read_bytes() == content
    assert not list(tmp_path.glob("*.writing*"))


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path, read, monkeypatch):
    pair(tmp_path, 3)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(kept_run_lengths, "temporary_file", refused)
    assert scores(tmp_path) == scores(tmp_path)
    assert read == [str(tmp_path / "t.json")] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "t.json"]


def test_few_polygons_are_not_kept(tmp_path):
    pair(tmp_path, 4)
    scores(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "t.json"]
