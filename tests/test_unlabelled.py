"""Pictures without annotations: what a mean teacher is sure of is learnt from, and never in silence to the worse."""

import json
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from real_steps import dataset_of, plan_of, real_steps, rehearsed_steps
from training import config, lines, losses, weights

from segkit.config.evaluate import EvalConfig
from segkit.config.train import TrainConfig
from segkit.data.label_maps import IGNORED
from segkit.data.records import Annotation, Category
from segkit.inference.evaluate import evaluate
from segkit.loading.sampler import Key
from segkit.models.backbones import BatchNorm2d
from segkit.progress import Progress
from segkit.runtime.ranks import Ranks
from segkit.training.rehearsal.batches import scenes_of
from segkit.training.teachers.choose import teaching_of
from segkit.training.teachers.mean_teacher import MeanTeacher
from segkit.training.teachers.pseudo_labels import Instances, LabelMaps
from segkit.training.teachers.teaching import ANNOTATIONS_ALONE
from segkit.training.teachers.thresholds import Thresholds
from segkit.training.train import train

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def others(parts, tmp_path_factory):
    """A folder of pictures that are in no dataset: that of ``dataset`` has links to ``parts``."""
    folder = tmp_path_factory.mktemp("others")
    for path in sorted(parts.glob("*.jpg")) + sorted(parts.glob("*.png")):
        shutil.copy(path, folder)
    return folder


def unlabelled(dataset, others, out, **more):
    base = {"model": "unet", "backbone": "mobilenet_v3_large", "unlabelled": (str(others),), "schedule": "constant"}
    return config(dataset, out, **(base | {"warmup": 0} | more))


def test_a_threshold_lets_as_much_through_as_is_expected():
    """Two of the first category in an image, a tenth of the second; both are found ten times, evenly sure."""
    thresholds = Thresholds([0.0, 2.0, 0.1, 50.0], 0.4, 0.95)
    assert thresholds.of_labels().tolist() == [0.95] * 4  # nothing was seen
    scores = np.linspace(0.01, 0.99, 50)
    for _ in range(3):
        for label in (1, 2, 3):
            thresholds.count(np.full(50, label), scores, 5 if label == 1 else 0)
        thresholds.end(ALONE)
    least = thresholds.of_labels()
    assert (scores >= least[1]).sum() / 5 == pytest.approx(2.0, abs=0.21)
    assert least[2] == 0.95  # bounded: more than 9 of 50 would be found twice an image
    assert least[3] == 0.4
    thresholds.count(np.full(50, 1), np.full(50, 0.99), 1)
    thresholds.begin()  # the step begins again: it was not counted
    thresholds.end(ALONE)
    assert thresholds.of_labels().tolist() == least.tolist()
    other = Thresholds([0.0, 2.0, 0.1, 50.0], 0.4, 0.95)
    other.restore(json.loads(json.dumps(thresholds.to_plain())))
    assert other.of_labels().tolist() == least.tolist()


def test_of_a_frequent_label_the_least_sure_are_left_out_though_they_are_very_sure():
    """Nine tenths of the pixels are background, and all of them are found to be it with more than 0.97."""
    thresholds, rng = Thresholds([0.9, 0.1], 0.6, 0.9999), np.random.default_rng(0)
    confidence = np.where(np.arange(20_000) % 10 > 0, 0.999, 0.975) + rng.uniform(-5e-4, 5e-4, 20_000)
    thresholds.count(np.zeros(20_000), confidence, 20_000)
    thresholds.end(ALONE)
    taught = confidence >= thresholds.of_labels()[0]
    assert taught.mean() == pytest.approx(0.9, abs=0.15)
    assert not taught[confidence < 0.98].any()
    older = {"counts": np.ones((2, 50)).tolist(), "total": 5.0}  # a run that counted in bins of 0.02
    thresholds.restore(older)
    assert thresholds.of_labels()[0] > 0.98


def annotated(*labels):
    data = dataset_of((40, 60, 0))
    box = (0.0, 0.0, 12.0, 10.0)
    found = tuple(Annotation(n, 1, label, [], box, 240.0) for n, label in enumerate(labels, 1))
    return replace(data, annotations=found, categories=(Category(1, "a"), Category(2, "b")))


def asked(height=40, width=60):
    return {"weak": torch.zeros(3, height, width, dtype=torch.uint8), "seed": 7, "frame": (64, 64)}


def test_instances_above_the_threshold_are_targets_where_they_are():
    boxes = torch.tensor([[2.0, 4.0, 12.0, 9.0], [50.0, 30.0, 64.0, 44.0], [0.0, 0.0, 9.0, 9.0]])
    half = torch.ones(3, 8, 8)
    half[0, :, 4:] = 0
    seen = []

    def teacher(images, targets):
        seen.append(targets[0]["frame"])
        return [{"boxes": boxes, "labels": torch.tensor([1, 2, 2]), "scores": scores, "masks": half}]

    labeller = Instances(annotated(1, 2))
    scores = torch.tensor([0.99, 0.97, 0.1])
    (target,) = labeller.label(teacher, [asked()])
    assert seen == [(64, 64)]
    assert target["labels"].tolist() == [1, 2]
    assert target["boxes"].tolist() == [[2, 4, 7, 9], [50, 30, 60, 40]]  # of the masks, inside the image
    assert target["seed"] == 7
    assert target["frame"] == (64, 64)
    assert "weak" not in target
    assert len(target["box_masks"]) == 5 * 5 + 10 * 10
    for unsure in ([0.9, 0.3, 0.2], [0.99, 0.9, 0.9]):
        scores = torch.tensor(unsure)
        assert labeller.label(teacher, [asked()]) == [None]  # not sure of any; more unsure than sure


def test_pixels_above_the_threshold_are_targets_and_the_others_are_ignored():
    labeller = LabelMaps(annotated(1))
    shares = torch.full((3, 40, 60), 0.02)
    shares[0], shares[1, :, :30], shares[2, :10, 30:] = 0.03, 0.97, 0.7

    class Teacher:
        def maps(self, images):
            return [shares for _ in images]

    inside = torch.zeros(40, 60, dtype=torch.uint8)
    inside[:, :5] = IGNORED
    (target,) = labeller.label(Teacher(), [asked() | {"semantic": inside}])
    assert target["semantic"].unique(return_counts=True)[0].tolist() == [1, IGNORED]
    assert (target["semantic"] == 1).sum() == 25 * 40
    shares[0], shares[1] = 0.97, 0.02  # all of it is background: some of it is learnt from, always the same
    first, again = (labeller.label(Teacher(), [asked() | {"semantic": inside}])[0]["semantic"] for _ in range(2))
    assert torch.equal(first, again)
    assert 0.05 < (first == 0).float().mean() < 0.2
    assert first.unique().tolist() == [0, IGNORED]
    shares[0] = 0.05
    shares[1] = 0.9
    assert labeller.label(Teacher(), [asked() | {"semantic": inside}]) == [None]


def test_both_views_show_the_same_place_and_depend_on_the_key_alone(parts, others, dataset):
    plan = plan_of(dataset_of((96, 96, 2)), "cpu", model="unet", size=64, augment="medium")
    from segkit.training.plan import read_data
    from segkit.training.teachers.unlabelled_images import unlabelled_images

    training, val = read_data(dataset)
    images, said = unlabelled_images([str(others), str(parts)], training, val)
    assert len(images.images) == len(list(others.iterdir())) == 12
    assert said == ["12 of the unlabelled pictures are in the dataset, and are left out"]
    pictures = replace(plan, unlabelled=images).unlabelled_pictures()
    correlations = []
    for index in range(4):
        one, again = pictures[Key(3, index)], pictures[Key(3, index)]
        assert torch.equal(one.image, again.image)
        assert not torch.equal(one.image, one.target["weak"])
        assert one.image.shape == one.target["weak"].shape == (3, 64, 64)
        assert one.target["semantic"].shape == (64, 64)
        pair = [each.float().mean(0).flatten() for each in (one.image, one.target["weak"])]
        correlations.append(float(torch.corrcoef(torch.stack(pair))[0, 1]))
    assert np.median(correlations) > 0.4


def guarded(labeller=None):
    return MeanTeacher(ANNOTATIONS_ALONE, torch.nn.Linear(1, 1), labeller or LabelMaps(annotated(1)), 2.0, 30)


class _Sure(LabelMaps):
    """Takes images for labelled as they are."""

    def label(self, teacher, targets):
        return targets


def test_pseudo_labels_count_for_less_where_labels_alone_do_better():
    teaching = guarded()
    assert teaching.after_evaluation("AP", 0.9, 5) is None  # before the switch
    assert not teaching.switches(10, 0.4)
    assert not teaching.compares
    assert teaching.switches(12, 0.5)
    assert teaching.compares
    assert not teaching.switches(13, 0.55)
    assert "30 unlabelled images" in teaching.after_evaluation("AP", 0.5, 12)
    assert teaching.after_evaluation("AP", 0.6, 20, 0.55) is None
    assert teaching.weight == 2
    said = teaching.after_evaluation("AP", 0.6, 25, 0.65)  # more than at the switch, but less than labels alone
    assert "AP 0.600 with unlabelled images, 0.650 without" in said
    assert "the weight of pseudo-labels is 1 now" in said
    assert teaching.after_evaluation("AP", 0.7, 28, 0.7) is None
    assert teaching.weight == 2
    said = [teaching.after_evaluation("AP", 0.4, step, 0.5) for step in (30, 40, 50, 60)]
    assert teaching.weight == 0
    assert "given up" in said[3]
    assert not teaching.compares
    other = guarded()
    other.restore(json.loads(json.dumps(teaching.to_plain())))
    assert other.gave(["a", "b"]) == teaching.gave(["a", "b"])
    assert teaching.gave(["a", "b"])["best_after"] == teaching.gave(["a", "b"])["labels_alone"] == 0.7
    assert teaching.more(lambda: pytest.fail("nothing is loaded any more")) == []


def test_the_weight_of_pseudo_labels_rises_after_the_switch_also_in_a_run_that_goes_on():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), BatchNorm2d(1))
    teaching = guarded(_Sure(annotated(1)))

    def weight_of(teaching):
        teaching.begin()
        images, targets = [torch.ones(3, 2, 2)] * 2, [{"weak": torch.ones(3, 2, 2)}] * 2
        found = teaching.losses(_OneLoss(module), images, targets, lambda name: nullcontext())
        return found["unlabelled"].item()

    assert teaching.switches(12, 0.55)
    first = weight_of(teaching)
    assert 0 < first < 0.05  # of 2
    teaching.switches(20, 0.65)
    assert first < weight_of(teaching) < 1
    other = guarded(_Sure(annotated(1)))
    other.restore(json.loads(json.dumps(teaching.to_plain())))
    assert weight_of(other) == weight_of(teaching)
    teaching.switches(30, 0.8)
    assert weight_of(teaching) == 2
    older = {name: value for name, value in teaching.to_plain().items() if name not in ("since", "risen")}
    other.restore(older)  # an older run's weight has not risen slowly, and does not begin to
    other.switches(31, 0.55)
    assert weight_of(other) == 2


class _OneLoss(torch.nn.Module):
    """Its loss is 1, and its norms see every batch."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images, targets):
        return {"loss": self.module(torch.stack(images)).sum() * 0 + 1}


def test_statistics_of_norms_are_those_of_annotated_images():
    module = _OneLoss(torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), BatchNorm2d(1))).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    teaching = guarded(_Sure(annotated(1)))
    teaching.switches(12, 0.55)
    teaching.begin()
    images = [torch.rand(3, 4, 4) for _ in range(2)]
    teaching.losses(module, images, [{"weak": each} for each in images], nullcontext)["unlabelled"].backward()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    teaching.losses(module, images, [{}, {}], nullcontext)
    assert not torch.equal(module.module[1].running_mean, before["module.1.running_mean"])


class _Interrupting(Progress):
    """Presses Ctrl-C after a step."""

    def __init__(self, step):
        self.left = step

    def advance(self, count=1, **figures):
        self.left -= count
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_a_resumed_run_with_unlabelled_pictures_equals_an_uninterrupted_one(dataset, others, tmp_path):
    whole = train(unlabelled(dataset, others, tmp_path, steps=6))
    part = train(unlabelled(dataset, others, tmp_path, steps=6), _Interrupting(4)).run
    assert 4 <= len(lines(part)) < 6
    train(TrainConfig(resume=str(part)))
    assert losses(part) == losses(whole.run)
    resumed = weights(part)
    assert all(torch.equal(value, resumed[name]) for name, value in weights(whole.run).items())
    one, other = (torch.load(run / "last.pt", weights_only=True)["labels_alone"] for run in (whole.run, part))
    assert all(torch.equal(value, other["raw"][name]) for name, value in one["raw"].items())
    assert ["unlabelled" in each for each in losses(whole.run)] == [False] * 3 + [True] * 3
    gave = whole.unlabelled
    assert gave["from_step"] == 3
    assert gave["shown"] == 6
    assert gave["at_switch"] is not None
    assert gave["labels_alone"] is not None
    assert set(gave["thresholds"]) == {each.strip() for each in (whole.run / "labels.txt").read_text().splitlines()}


class _Wrong(LabelMaps):
    """Takes all pixels for one category."""

    def label(self, teacher, targets):
        return [{"seed": each["seed"], "semantic": torch.ones_like(each["semantic"])} for each in targets]


def test_labels_alone_go_on_beside_to_the_bit_and_what_is_kept_is_never_worse(dataset, others, tmp_path, monkeypatch):
    """Pseudo-labels are wrong, and count for so much that they ruin the model."""
    monkeypatch.setattr("segkit.training.teachers.choose.labeller_for", lambda card, data: _Wrong(data))
    more = {"steps": 14, "eval_every": 1, "lr": 0.03, "ema": 0.1, "norm": "group", "unlabelled_weight": 1000.0}
    some = unlabelled(dataset, others, tmp_path, **more)
    both, alone = train(some), train(replace(some, unlabelled=None, unlabelled_weight=None))
    last = [torch.load(each.run / "last.pt", weights_only=True) for each in (both, alone)]
    beside = last[0]["labels_alone"]
    assert all(torch.equal(value, beside["raw"][name]) for name, value in last[1]["raw"].items())
    assert all(torch.equal(value, beside["average"][name]) for name, value in last[1]["model"].items())
    assert both.score >= alone.score
    kept = evaluate(EvalConfig(subject=both.run)).metrics  # best.pt has the weights that had the score
    assert kept.semantic.mIoU == pytest.approx(both.score[1], abs=1e-6)
    scores = [each for each in lines(both.run, "eval") if "labels_alone" in each]
    sides = [[each[side]["mIoU"] for side in ("labels_alone", "with_unlabelled", "mean_of_both")] for each in scores]
    assert any(labels > pseudo for labels, pseudo, _ in sides)
    of_alone = [each["semantic"]["mIoU"] for each in lines(alone.run, "eval")]
    assert of_alone[-len(sides) :] == [each[0] for each in sides]
    assert [each["semantic"]["mIoU"] for each in scores] == [max(each) for each in sides]


def test_unlabelled_options_are_refused_in_a_line(dataset, others, tmp_path, segkit):
    base = ["train", dataset, "--device", "cpu", "--weights", "none", "--out", tmp_path, "--steps", 1]
    for more, why in (
        (["--unlabelled", tmp_path / "none"], f"{tmp_path / 'none'}: no such file or folder"),
        (["--unlabelled", dataset / "images"], "pictures there are in the dataset, or cannot be read"),
        (["--unlabelled-weight", 2], "--unlabelled-weight goes with --unlabelled"),
        (["--unlabelled", others, "--ema", 0], "--unlabelled needs averaged weights, which --ema 0 turns off"),
    ):
        outcome = segkit(*base, *more)
        assert outcome.code == 1, outcome.err
        assert why in outcome.err
        assert "Traceback" not in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("model", ["unet", "maskrcnn", "fasterrcnn"])
def test_ranks_and_micro_batches_learn_the_same_from_unlabelled_pictures(dataset, others, tmp_path, model):
    some = unlabelled(dataset, others, tmp_path, model=model, batch=4, norm="group", steps=4, backbone="resnet18")
    one, two, small = train(some), train(replace(some, ranks=2)), train(replace(some, micro_batch=1))
    for a, b, c in zip(lines(one.run), lines(two.run), lines(small.run), strict=True):
        for name, value in a["losses"].items():
            assert b["losses"][name] == pytest.approx(value, rel=1e-2, abs=1e-4)
            assert c["losses"][name] == pytest.approx(value, rel=1e-2, abs=1e-4)
    assert one.unlabelled["shown"] == two.unlabelled["shown"] == small.unlabelled["shown"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("model", ["unet", "maskrcnn"])
def test_a_rehearsal_knows_of_unlabelled_pictures(model):
    plan = plan_of(dataset_of((96, 128, 4), (128, 96, 1)), "cpu", model=model, size=64, batch=1, ema=0.9)
    more = replace(plan, unlabelled=dataset_of((96, 128, 0)))
    scenes = scenes_of(more, 1)[-1:]
    (alone,) = rehearsed_steps(plan, scenes, 1)
    (bound,) = rehearsed_steps(more, scenes, 1)
    assert bound > alone
    assert bound >= real_steps(more, scenes, 1).peaks[0]


def test_the_teacher_is_the_average_itself():
    plan = plan_of(dataset_of((64, 64, 1)), "cpu", model="unet", size=64, ema=0.9)
    from segkit.training.optim import Average

    module = plan.card.build()
    average = Average(module, 0.9)
    teaching = teaching_of(replace(plan, unlabelled=dataset_of((64, 64, 0))), module, average, torch.device("cpu"))
    with torch.no_grad():
        module.head.bias += 1
    average.update(module)
    for name, value in teaching.teacher.state_dict().items():
        assert value.data_ptr() == average.state[name].data_ptr()
    assert not any(p.requires_grad for p in teaching.teacher.parameters())
    assert TrainConfig(unlabelled=("a",)).unlabelled == ("a",)
