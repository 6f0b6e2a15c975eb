"""A threshold that promises a recall: what it keeps on further images, where it is kept, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from random_models import card_of, checkpoint

from segkit.config.predict import PredictConfig
from segkit.errors import InputError
from segkit.evaluation.analysis.promise import promised_threshold
from segkit.evaluation.provenance import digest_of
from segkit.inference.thresholds import promise_warning, promised_score


def drawn(rng, images):
    """Scores of what was found of the instances of each image: images differ in how hard they are."""
    instances = 1 + rng.poisson(3, images)
    ease = rng.beta(6, 1.5, images)
    scores = [rng.beta(4 * each + 0.5, 1, number) for each, number in zip(ease, instances, strict=True)]
    return [each[rng.random(len(each)) < 0.995] for each in scores], instances.tolist()


def mean_recall(found, instances, threshold):
    return float(np.mean([(each >= threshold).sum() / n for each, n in zip(found, instances, strict=True)]))


@pytest.mark.parametrize(("least", "images"), [(0.95, 60), (0.9, 200), (0.7, 12)])
def test_held_back_halves_keep_the_promise(least, images):
    """Over 200 random halves: the promise is of the mean over halves, and no more is given than it takes."""
    rng = np.random.default_rng(7)
    found, instances = drawn(rng, 2 * images)
    kept, plain = [], []
    for _ in range(200):
        order = rng.permutation(2 * images)
        first, second = [([found[n] for n in half], [instances[n] for n in half]) for half in np.split(order, 2)]
        threshold = promised_threshold(*first, np.concatenate(first[0]), least)
        kept.append(mean_recall(*second, threshold))
        plain.append(mean_recall(*first, threshold))
        assert plain[-1] >= least
    error = 3 * float(np.std(kept)) / 200**0.5
    assert np.mean(kept) >= least - error
    assert np.mean(kept) <= least + 2 / (images + 1) + error  # theorem 2 of the paper, where losses do not jump
    assert min(kept) < least, "the promise is about the mean, not about every half"


def test_the_threshold_is_the_highest_that_keeps_the_promise():
    """Of 19 images with one instance each none may be missed: (19 R + 1) / 20 is 0.05 only where R is 0."""
    scores = [np.array([0.5 + n / 100]) for n in range(19)]
    every = np.concatenate(scores)
    assert promised_threshold(scores, [1] * 19, np.append(every, 0.4999), 0.95) == 0.5
    assert promised_threshold(scores, [1] * 19, every, 0.9) == 0.51  # one of them may be missed
    assert promised_threshold(scores, [1] * 19, np.append(every, 0.5099), 0.9) == 0.51


@pytest.mark.parametrize(
    ("found", "instances", "least", "message", "hint"),
    [
        ([], [], 0.9, "needs at least 9 images with instances, and there are 0", "annotate some"),
        ([[0.9]] * 7, [1] * 7, 0.95, "needs at least 19 images with instances, and there are 7", "recall >= 0.875 at"),
        ([[0.9]] * 18, [1] * 18, 0.95, "needs at least 19 images", "recall >= 0.947 at the most"),
        ([[0.9]] * 30 + [[]] * 10, [1] * 40, 0.9, "mean recall of 40 images is 0.750", "recall >= 0.731 at the most"),
        ([[]] * 40, [2] * 40, 0.5, "the mean recall of 40 images is 0.000", "nothing can be promised here"),
    ],
)  # fmt: skip
def test_what_cannot_be_promised_is_refused(found, instances, least, message, hint):
    found = [np.array(each) for each in found]
    scores = np.concatenate([np.zeros(0), *found])
    with pytest.raises(InputError) as error:
        promised_threshold(found, instances, scores, least)
    assert message in error.value.message
    assert hint in error.value.hint
    if "at the most" in hint:
        most = float(error.value.hint.split(">= ")[1].split(" ")[0])
        promised_threshold(found, instances, scores, most)  # what the hint names can be kept
        with pytest.raises(InputError):
            promised_threshold(found, instances, scores, most + 0.002)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.95", "is not a promise such as"),
        ("recall > 0.95", "is not a promise such as"),
        ("recall >= 1", "of more than 0 and less than 1"),
        ("recall >= 0", "of more than 0 and less than 1"),
        ("recall >= 95", "of more than 0 and less than 1"),
        ("precision >= 0.9", "only recall can be promised"),
        ("", "is not a promise such as"),
    ],
)
def test_promises_that_are_none(segkit, text, message):
    outcome = segkit("eval", "r.json", "--promise", text)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())


@pytest.fixture(scope="module")
def half_found(tmp_path_factory):
    """A model with random weights, and a dataset in which some of what it finds is annotated."""
    from segkit.cli import main

    folder = tmp_path_factory.mktemp("promise")
    model, data, rng = (
        checkpoint(folder / "run/best.pt", card_of("maskrcnn")),
        folder / "data",
        np.random.default_rng(0),
    )
    (data / "images").mkdir(parents=True)
    for number in range(4):
        noise = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((96, 72), Image.Resampling.BICUBIC).save(data / "images" / f"{number}.png")
    options = ("--model", model, "--score", 0, "--format", "coco", "--device", "cpu", "--out", folder / "all", "-q")
    assert main([str(each) for each in ("predict", data / "images", *options)]) == 0
    truth = json.loads((folder / "all/images.json").read_text())
    found = json.loads((folder / "all/results.json").read_text())
    truth["annotations"] = [
        {"id": n, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
        | {key: each[key] for key in ("image_id", "category_id", "bbox", "segmentation") if key in each}
        for n, each in enumerate(found, 1)
        if rng.random() < 0.6
    ]
    assert len({each["image_id"] for each in truth["annotations"]}) == 4
    (data / "val.json").write_text(json.dumps(truth))
    return model, data, truth


def test_a_promise_is_kept_with_the_model_and_predicts(segkit, here, half_found):
    model, data, truth = half_found
    results = ("eval", model.parents[1] / "all/results.json", "--data", data)
    refused = segkit(*results, "--promise", "recall >= 0.95", "--json")
    assert refused.code == 1
    assert "needs at least 19 images with instances, and there are 4" in refused.err
    assert json.loads(refused.out)["promise"]["recall"] == 0.95, "the scores are printed in any case"
    done = segkit("eval", model, "--data", data, "--device", "cpu", "--promise", "recall >= 50%", "--json")
    assert done.code == 0, done.err
    promise = json.loads(done.out)["promise"]
    assert promise == json.loads(segkit(*results, "--promise", "recall >= 0.5", "--json").out)["promise"]
    assert (promise["images"], promise["instances"]) == (4, len(truth["annotations"]))
    assert promise["mean_recall"] >= 0.5
    assert f"--score {promise['score']!r}" in done.err
    assert promised_score(model) == promise["score"]
    (model.parent / "metrics.json").unlink()  # a later evaluation writes another one: the promise stays
    options = ("--model", model, "--score", "promise", "--format", "coco", "--device", "cpu", "--out", here / "out")
    predicted = segkit("predict", data / "images", *options)
    assert predicted.code == 0, predicted.err
    kept = [each["score"] for each in json.loads((here / "out/results.json").read_text())]
    everything = [each["score"] for each in json.loads((model.parents[1] / "all/results.json").read_text())]
    assert len(kept) == sum(score >= promise["score"] for score in everything)


def test_a_promise_of_another_model_is_refused(here):
    model, path = here / "best.pt", here / "promise.json"
    model.write_bytes(b"a")
    about = {"subject": {"digest": digest_of(model)}}
    for content, message in (
        (None, "promise.json has no threshold"),
        ("{", "promise.json has no threshold"),
        ({"promise": {"score": 0.25}}, "promise.json has no threshold"),
        ({"promise": {"score": 25}, "about": about}, "has no threshold from 0 to 1"),
        ({"promise": {"score": 0.25}, "about": {"subject": {"digest": "0"}}}, "or about this one before it changed"),
    ):
        if content is not None:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(InputError) as error:
            promised_score(model)
        assert message in error.value.message
        assert error.value.hint == f"find it: segkit eval {model} --promise 'recall >= 0.95'"
    path.write_text(json.dumps({"promise": {"score": 0.25}, "about": about}))
    assert promised_score(model) == 0.25


def test_options_that_a_promise_says_nothing_about():
    plain = {"source": ["a.png"], "score": "promise", "edge": "mark", "pixel_size": "1um", "pages": "all"}
    assert promise_warning(PredictConfig(**plain)) == []
    assert promise_warning(PredictConfig(**plain | {"score": 0.5, "nms": 0.3})) == []
    (warning,) = promise_warning(PredictConfig(**plain | {"edge": "drop", "nms": 0.3}))
    assert "was made without --nms, --edge" in warning


def test_promises_beside_other_options(segkit, here):
    for options, message in (
        (("--folds",), "--promise is about one model"),
        (("--iou", "boundary"), "recall is that of masks or boxes"),
        (("--task", "semantic"), "--promise is about instances"),
    ):
        outcome = segkit("eval", "r.json", "--promise", "recall >= 0.9", *options)
        assert outcome.code == 1
        assert message in outcome.err


def test_a_promise_on_images_of_the_training_is_refused(segkit, here, half_found):
    """The run's own train split: the model has seen these images."""
    _, data, truth = half_found
    run = here / "runs/seen"
    own = checkpoint(run / "best.pt", card_of("maskrcnn"))
    for name in ("train", "val"):
        (data / f"{name}.json").write_text(json.dumps(truth))
    (run / "config.toml").write_text(f'dataset = "{data}"\n')
    outcome = segkit("eval", own, "--split", "train", "--promise", "recall >= 0.5", "--device", "cpu")
    assert outcome.code == 1
    assert "--promise: the model was trained on these very images" in outcome.err
    (data / "train.json").unlink()
