"""Distillation: a run learns from another one, on every road that a run takes."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from real_steps import dataset_of, plan_of, real_steps, rehearsed_steps
from training import config, lines, losses, weights

from segkit.config.train import TrainConfig
from segkit.data.records import Category
from segkit.errors import ConfigError, SegkitError
from segkit.models.adapt import train_mode
from segkit.runs.checkpoint import save_checkpoint
from segkit.training.optim import Average
from segkit.training.rehearsal.batches import scenes_of
from segkit.training.teachers.choose import teaching_with
from segkit.training.teachers.find import TeacherFile, find_teacher
from segkit.training.teachers.losses import focal_features, focus
from segkit.training.train import train

MODELS = ["unet", "maskrcnn", "fasterrcnn"]


@pytest.fixture(scope="module")
def teachers(dataset, tmp_path_factory):
    """A run of each model, with another backbone than the students'."""
    out, runs = tmp_path_factory.mktemp("teachers"), {}
    plan = plan_of(dataset_of((64, 96, 3)), "cpu", model="maskrcnn", size=64, backbone="mobilenet_v2")
    runs["unet"] = train(config(dataset, out, model="unet", backbone="mobilenet_v2", steps=1, name="unet")).run
    content = torch.load(runs["unet"] / "best.pt", weights_only=True)
    plan = replace(plan, card=replace(plan.card, categories=plan_card(content).categories))
    shutil.copytree(runs["unet"], out / "maskrcnn")  # one that was not trained teaches as well
    content = {"card": plan.card.to_plain(), "model": plan.card.build().state_dict()}
    save_checkpoint(out / "maskrcnn/best.pt", content)
    return runs | {"maskrcnn": out / "maskrcnn"}


def students(dataset, out, teachers, model, **more):
    base = {"backbone": "mobilenet_v3_large", "schedule": "constant", "warmup": 0}
    return config(dataset, out, model=model, teacher=teachers[model], **(base | more))


def taught(model, **more):
    """A plan with a teacher of the same kind, and a micro-batch to learn from."""
    more_options = {"instances": "components"} if model == "unet" else {}
    plan = plan_of(
        dataset_of((64, 96, 3), (64, 96, 0)), "cpu", model=model, size=64, norm="group", batch=2, **more_options
    )
    card = replace(plan.card, **more)
    return replace(plan, teacher=TeacherFile(None, card, "", tuple(range(3))))


def micro_batch(kind):
    images = [torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8) for _ in range(2)]
    if kind == "semantic":
        return images, [{"semantic": torch.randint(0, 3, (64, 96), dtype=torch.uint8), "seed": 1}] * 2
    boxes = torch.tensor([[4.0, 4.0, 40.0, 30.0], [50.0, 10.0, 90.0, 60.0]])
    masks = torch.ones(36 * 26 + 40 * 50, dtype=torch.uint8)
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "seed": 2}
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "box_masks": masks, "seed": 1}
    return images, [target, none | {"box_masks": torch.zeros(0, dtype=torch.uint8)}]


def compared(plan, student, teacher):
    """The losses of distillation of a student that is in training mode."""
    torch.manual_seed(0)
    images, targets = micro_batch(plan.card.framing.kind)
    teaching = teaching_with(plan, student, teacher, Average(student, 0.0))
    found = teaching.losses(train_mode(student), images, targets, lambda name: torch.no_grad())
    return {name: float(value) for name, value in found.items() if name.startswith("distil_")}


@pytest.mark.parametrize("model", MODELS)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn_from_it(model):
    plan = taught(model)
    torch.manual_seed(1)
    teacher, other = plan.card.build(), plan.card.build()
    student = plan.card.build()
    student.load_state_dict(teacher.state_dict())
    same = compared(plan, student, teacher)
    assert (
        set(same)
        == {
            "unet": {"distil_logits", "distil_features"},
            "maskrcnn": {"distil_features", "distil_labels", "distil_masks"},
            "fasterrcnn": {"distil_features", "distil_labels"},
        }[model]
    )
    assert all(abs(value) < 1e-5 for value in same.values()), same
    different = compared(plan, other, teacher)
    assert all(different[name] > 20 * abs(same[name]) + 1e-5 for name in same), (same, different)


@pytest.mark.parametrize("model", ["unet", "maskrcnn"])
def test_categories_are_compared_by_their_names(model):
    """A teacher with its categories in another order, and its rows with them, teaches the same."""
    plan = taught(model)
    torch.manual_seed(1)
    teacher, student = plan.card.build(), plan.card.build()
    turned = plan.card.build()
    state = dict(teacher.state_dict())
    for layer, rows in turned.rows_per_category.items():
        for name in {f"{layer}.weight", f"{layer}.bias"} & state.keys():  # layers of other mask heads are named, too
            parts = state[name].split(rows)
            state[name] = torch.cat([parts[0], parts[2], parts[1]])
    turned.load_state_dict(state)
    other = replace(plan, teacher=replace(plan.teacher, labels=(0, 2, 1)))
    assert compared(other, student, turned) == pytest.approx(compared(plan, student, teacher), rel=1e-5)
    assert compared(plan, student, turned) != pytest.approx(compared(plan, student, teacher), rel=1e-5)


def test_a_teacher_is_in_evaluation_mode_without_gradients_and_in_the_precision_of_the_run():
    """In bf16, its features are: also on a CPU without instructions for it."""
    plan, seen = taught("unet"), []
    student, teacher = plan.card.build(), plan.card.build()

    def look(module, inputs, output):
        seen.append((output.dtype, torch.is_grad_enabled(), module.training, output.requires_grad))

    teacher.decoder[0].register_forward_hook(look)
    images, targets = micro_batch("semantic")
    teaching = teaching_with(plan, student, teacher, Average(student, 0.0))
    for dtype in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is torch.bfloat16):
            losses = teaching.losses(train_mode(student), images, targets, lambda name: nullcontext())
        assert seen.pop() == (dtype, False, False, False)
        assert losses["distil_features"].requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_every_instance_weighs_the_same_in_features_whatever_its_size():
    weights = focus([[0, 0, 16, 16], [32, 0, 64, 64]], 16, 16, 4, torch.zeros(1))
    assert weights[0, :4, :4].sum() == pytest.approx(1)
    assert weights[0, :, 8:].sum() == pytest.approx(1)
    assert weights[1].sum() == pytest.approx(1)
    nested = focus([[0, 0, 64, 64], [8, 8, 16, 16]], 16, 16, 4, torch.zeros(1))
    assert nested[0, 3, 3] == pytest.approx(1 / 4)  # the smaller one counts where both are
    teacher = torch.randn(1, 8, 16, 16)
    near, far = (teacher + (weights[0] > 0) * by for by in (0.1, 0.2))
    assert focal_features(near, teacher, weights[None]) < focal_features(far, teacher, weights[None])


@pytest.mark.parametrize("model", ["unet", pytest.param("maskrcnn", marks=pytest.mark.slow)])
def test_a_resumed_run_with_a_teacher_equals_an_uninterrupted_one(dataset, tmp_path, teachers, model):
    whole = train(students(dataset, tmp_path, teachers, model, steps=3)).run
    part = train(students(dataset, tmp_path, teachers, model, steps=1)).run
    train(TrainConfig(resume=str(part), steps=3))
    assert losses(part) == losses(whole)
    resumed = weights(part)
    assert all(torch.equal(value, resumed[name]) for name, value in weights(whole).items())
    assert all(value > 0 for name, value in losses(whole)[0].items() if name.startswith("distil_"))
    origin = json.loads((whole / "origin.json").read_text())["teacher"]
    assert origin["file"] == str(teachers[model] / "best.pt")
    assert len(origin["sha256"]) == 64
    content = torch.load(whole / "last.pt", weights_only=True)
    assert content["teaching"] == {"teacher": origin["sha256"]}
    assert not any("teacher" in name for name in content["model"])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["unet", "maskrcnn"])
def test_ranks_and_micro_batches_learn_the_same_from_a_teacher(dataset, tmp_path, teachers, model):
    some = students(dataset, tmp_path, teachers, model, batch=4, norm="group", steps=2)
    one, two, small = train(some), train(replace(some, ranks=2)), train(replace(some, micro_batch=1))
    for a, b, c in zip(lines(one.run), lines(two.run), lines(small.run), strict=True):
        for name, value in a["losses"].items():
            assert b["losses"][name] == pytest.approx(value, rel=1e-3, abs=1e-5)
            assert c["losses"][name] == pytest.approx(value, rel=1e-3, abs=1e-5)


def test_a_teacher_that_cannot_teach_is_refused_in_a_line(dataset, tmp_path, teachers, segkit):
    run = teachers["unet"]
    base = ["train", dataset, "--device", "cpu", "--weights", "none", "--out", tmp_path, "--steps", 1]
    for more, why in (
        (["--teacher", run], f"--teacher {run}: is a unet, and finds other things than a maskrcnn"),
        (["--teacher", tmp_path / "none"], f"{tmp_path / 'none'}: no such model"),
        (["--teacher-weight", 2], "--teacher-weight goes with --teacher"),
        (["--teacher", run, "--compile"], "--compile and --teacher do not go together"),
    ):
        outcome = segkit(*base, *more)
        assert outcome.code == 1
        assert f"error: {why}" in outcome.err
        assert "Traceback" not in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_teacher_of_other_categories_is_refused_in_a_line(teachers, tmp_path):
    content = torch.load(teachers["unet"] / "best.pt", weights_only=True)
    card = find_teacher(teachers["unet"], plan_card(content)).card
    wanted = replace(card, categories=(*card.categories[1:], Category(99, "snail")))
    first = card.categories[0].name
    with pytest.raises(ConfigError, match=f"does not know 'snail' and knows '{first}', which the dataset does not"):
        find_teacher(teachers["unet"], wanted)
    turned = tuple(Category(99 - each.id, each.name) for each in card.categories)
    found = find_teacher(teachers["unet"], replace(card, categories=turned))
    assert found.labels == (0, *range(len(turned), 0, -1))


def plan_card(content):
    from segkit.models.card import ModelCard

    return ModelCard.from_plain(content["card"])


@pytest.mark.slow
def test_a_teacher_that_was_changed_ends_the_resumed_run(dataset, tmp_path, teachers):
    shutil.copytree(teachers["unet"], tmp_path / "t")
    run = train(students(dataset, tmp_path, {"unet": tmp_path / "t"}, "unet", steps=1)).run
    content = torch.load(tmp_path / "t/best.pt", weights_only=True)
    content["model"]["head.bias"] += 1
    save_checkpoint(tmp_path / "t/best.pt", content)
    with pytest.raises(SegkitError, match="is not the teacher any more that the run began with"):
        train(TrainConfig(resume=str(run), steps=2))


@pytest.mark.parametrize("model", [pytest.param("unet", marks=pytest.mark.slow), "maskrcnn"])
def test_a_rehearsal_knows_of_the_teacher(model):
    """Rehearsed with the sizes of a real step, the peak is the real one; and the teacher has its own category."""
    plan = plan_of(dataset_of((96, 128, 4), (128, 96, 1)), "cpu", model=model, size=64, batch=2, micro_batch=1)
    plan = replace(plan, teacher=TeacherFile(None, replace(plan.card, backbone="resnet34"), "", (0, 1, 2)))
    scenes = scenes_of(plan, 1)[-1:]
    real = real_steps(plan, scenes, 1)
    for measured, rehearsed in zip(real.peaks, rehearsed_steps(plan, scenes, 1, real.sizes), strict=True):
        assert rehearsed == pytest.approx(measured, rel=1e-3)
    with_teacher, without = rehearsed_steps(plan, scenes, 1), rehearsed_steps(replace(plan, teacher=None), scenes, 1)
    held = sum(value.numel() * value.element_size() for value in plan.teacher.card.build().parameters())
    assert all(more >= less + held for more, less in zip(with_teacher, without, strict=True))


@pytest.mark.slow
def test_a_profile_has_the_teacher_in_its_own_category(dataset, tmp_path, teachers, segkit):
    run = train(students(dataset, tmp_path, teachers, "unet", steps=1)).run
    outcome = segkit("memprofile", run, "--steps", 4, "--out", tmp_path / "m", "--json")
    document = json.loads(outcome.out)
    module = plan_card(torch.load(teachers["unet"] / "best.pt", weights_only=True)).build()
    assert document["categories"]["teacher"] >= sum(each.numel() * 4 for each in module.parameters())
    assert "teacher" in document["phases"]


@pytest.mark.slow
def test_losses_fall_towards_a_teacher(dataset, tmp_path, teachers):
    """A student that learns from nothing but its teacher comes nearer to it."""
    some = students(dataset, tmp_path, teachers, "unet", steps=8, teacher_weight=100.0, lr=1e-3, augment="none")
    values = [each["distil_logits"] for each in losses(train(some).run)]
    assert sum(values[-3:]) < sum(values[:3])
    assert any(a != b for a, b in pairwise(values))


def test_a_teacher_of_other_channels_or_strides_is_refused(dataset, tmp_path, teachers):
    for more, said in (({"channels": 1}, "sees 3 channels, the student 1"), ({"backbone": "plain"}, "other strides")):
        with pytest.raises(ConfigError, match=said):
            train(students(dataset, tmp_path, teachers, "unet", steps=1, **more))
