"""Things and stuff from one network: its branch, its losses, its targets, its scores, and what it writes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from road_scenes import SIDE, road_scenes
from torch import nn
from training import config, lines, losses, weights

from segkit.config.train import TrainConfig
from segkit.data.records import Category
from segkit.formats.dataset_folder import open_split
from segkit.loading.augment import paint_over
from segkit.loading.dataset import Pictures
from segkit.loading.sampler import Key
from segkit.models.card import ModelCard
from segkit.models.panoptic import weighed
from segkit.models.panoptic_settings import PanopticSettings
from segkit.models.semantic_branch import SemanticBranch
from segkit.models.tensors import BoxMask
from segkit.training.optim import groups_of
from segkit.training.train import train

STUFF = ("sky", "road")
TINY = {"model": "panoptic", "stuff": STUFF, "backbone": "mobilenet_v3_small", "proposals": 20, "rois": 16}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Eight scenes, converted."""
    from segkit.config.convert import ConvertConfig
    from segkit.conversion.convert import convert

    folder = tmp_path_factory.mktemp("scenes")
    convert(ConvertConfig(src=str(road_scenes(folder / "labelme")), out=folder / "dataset", val=0.25))
    return folder / "dataset"


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory):
    """A run of one step."""
    return train(config(scenes, tmp_path_factory.mktemp("runs"), steps=1, semantic_weight="uncertainty", **TINY)).run


def test_losses_are_weighed_as_their_papers_have_it():
    instances, semantic = {"box": torch.tensor(2.0), "mask": torch.tensor(1.0)}, torch.tensor(4.0)
    fixed = weighed(instances, semantic, 0.25, None)
    assert {name: float(value) for name, value in fixed.items()} == {"box": 2, "mask": 1, "loss_semantic": 1}
    logs = nn.Parameter(torch.tensor([0.0, 4.0]).log1p())  # variances 1 and 5
    learnt = weighed(instances, semantic, None, logs)
    assert learnt["loss_semantic"].item() == pytest.approx(4 / 5)
    assert learnt["uncertainty"].item() == pytest.approx(np.log(5) / 2)
    torch.stack(list(learnt.values())).sum().backward()
    assert logs.grad.tolist() == pytest.approx([-3 + 1 / 2, -4 / 5 + 1 / 2])  # least where a variance is twice the loss


def test_the_branch_has_the_stages_of_the_paper():
    branch = SemanticBranch(16, (2, 3, 4, 5), 3)
    count = [sum(isinstance(layer, nn.Conv2d) for layer in scale) for scale in branch.scales]
    assert count == [1, 1, 2, 3]
    maps = [torch.randn(1, 16, 32 // 2**level, 48 // 2**level) for level in range(4)]
    logits = branch(maps)
    assert logits.shape == (1, 3, 32, 48)
    assert branch.in_pixels(logits).shape == (1, 3, 128, 192)
    parts = [scale(each) for scale, each in zip(branch.scales, maps, strict=True)]
    assert torch.allclose(logits, branch.predictor(sum(parts)), atol=1e-5)


@pytest.fixture(scope="module")
def model(run):
    """The model of a run."""
    content = torch.load(run / "last.pt", weights_only=True)
    card = ModelCard.from_plain(content["card"])
    module = card.build()
    module.load_state_dict(content["model"])
    return card, module


def test_the_card_says_what_is_stuff(model, scenes):
    card, module = model
    assert [c.name for c in card.categories] == ["car", "road", "sky"]
    assert card.panoptic == PanopticSettings((2, 3), True, None)
    assert card.stuff == {c.id for c in card.categories if c.name in STUFF}
    assert ModelCard.from_plain(json.loads(json.dumps(card.to_plain()))) == card
    assert "panoptic" not in replace(card, model="maskrcnn", panoptic=None).to_plain()
    assert module.class_of[[0, 1, 2, 3, 255]].tolist() == [3, 0, 1, 2, 255]
    without = replace(card, panoptic=replace(card.panoptic, background=False)).build()
    assert without.class_of[[0, 1, 2, 3, 255]].tolist() == [255, 0, 1, 2, 255]


def test_no_instance_is_stuff_and_the_loss_of_the_branch_is_that_of_pixels(model, monkeypatch):
    _, module = model
    image = torch.randint(0, 256, (3, 64, 70), dtype=torch.uint8)
    with torch.no_grad():
        scores = module.roi_heads.box_predictor(torch.randn(50, 1024))[0].softmax(1)
        (found,) = module.eval()([image])
    assert (scores[:, 2:] == 0).all()
    assert scores[:, 1].max() > 0
    assert set(found["labels"].tolist()) <= {1}
    assert found["classes"].shape == (4, 16, 18)
    assert torch.allclose(found["classes"].sum(0), torch.ones(16, 18))
    for parameter in (module.semantic.predictor.weight, module.semantic.predictor.bias, module.log_variances):
        monkeypatch.setattr(parameter, "data", torch.zeros_like(parameter))
    labels = torch.full((64, 70), 255, dtype=torch.uint8)
    labels[:9] = 3
    boxes = torch.tensor([[4.0, 4.0, 40.0, 30.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1]), "box_masks": torch.ones(36 * 26, dtype=torch.uint8)}
    with torch.no_grad():
        given = module.train()([image], [target | {"semantic": labels, "seed": 1}])
    assert float(given["loss_semantic"]) == pytest.approx(np.log(4), rel=1e-5)


def test_variances_are_learnt_without_decay_and_faster_than_other_layers(model):
    _, module = model
    (group,) = (g for g in groups_of(module, {}) if any(p is module.log_variances for p in g["params"]))
    assert (group["factor"], group["decays"], len(group["params"])) == (10.0, False, 1)
    (own,) = (g for g in groups_of(module, {"log_variances": 3}) if any(p is module.log_variances for p in g["params"]))
    assert own["factor"] == 3
    assert not torch.equal(module.log_variances, torch.zeros(2))


def test_targets_have_things_as_instances_and_all_labels_in_the_map(scenes, model):
    card, _ = model
    data = open_split(scenes, "train")
    pictures = Pictures(data, card.framing, seed=0, augment="heavy", accept_boxes=False, stuff=card.panoptic.stuff)
    for epoch, number in ((epoch, number) for epoch in range(3) for number in range(len(data.images))):
        sample = pictures[Key(epoch, number)]
        target, labels = sample.target, sample.target["semantic"].numpy()
        assert set(target["labels"].tolist()) == {1}
        assert labels.shape == sample.image.shape[1:]
        assert {1, 2, 3} <= set(np.unique(labels)) <= {0, 1, 2, 3, 255}
        cars, end = np.zeros(labels.shape, bool), 0
        for x1, y1, x2, y2 in target["boxes"].int().tolist():
            area = (y2 - y1) * (x2 - x1)
            cars[y1:y2, x1:x2] |= target["box_masks"][end : end + area].view(y2 - y1, -1).bool().numpy()
            end += area
        assert (cars == (labels == 1)).mean() > 0.99  # at borders, the label that covers most of a pixel


def test_pasted_instances_are_over_the_label_map():
    labels = np.full((4, 4), 2, np.uint8)
    out = paint_over(labels, [BoxMask(1, 1, 1, np.array([[1, 0], [1, 1]], np.uint8))])
    assert out.tolist() == [[2, 2, 2, 2], [2, 1, 2, 2], [2, 1, 1, 2], [2, 2, 2, 2]]
    assert (labels == 2).all()


def test_an_evaluation_scores_things_pixels_and_segments(run, segkit, scenes):
    assert {"segm", "bbox", "semantic", "panoptic"} <= set(lines(run, "eval")[-1])
    outcome = segkit("eval", run, "--json", "--details")
    assert outcome.code == 0, outcome.err
    metrics = json.loads(outcome.out)
    assert list(metrics["segm"]["per_category"]) == ["car"]
    assert list(metrics["details"]["per_category"]) == ["car"]
    assert list(metrics["semantic"]["per_category"]) == ["background", "car", "road", "sky"]
    assert {name: row["isthing"] for name, row in metrics["panoptic"]["per_category"].items()} == {
        "car": 1, "road": 0, "sky": 0,
    }  # fmt: skip
    assert metrics["panoptic"]["stuff"]["PQ"] >= 0
    assert "things and stuff" in outcome.err


def test_predictions_are_written_in_all_formats_and_read_back(run, segkit, scenes, here):
    formats = "overlay,coco,labelme,classmap,panoptic,idmask,csv"
    outcome = segkit("predict", scenes / "images", "--model", run, "--format", formats, "--score", 0.05)
    assert outcome.code == 0, outcome.err
    document = json.loads((here / "predictions/panoptic.json").read_text())
    assert {c["name"]: c["isthing"] for c in document["categories"]} == {"car": 1, "road": 0, "sky": 0}
    names = {category["id"]: category["name"] for category in document["categories"]}
    results = json.loads((here / "predictions/results.json").read_text())
    assert {names[result["category_id"]] for result in results} <= {"car"}
    some = 0
    for image, each in zip(document["images"], document["annotations"], strict=True):
        with Picture.open(here / "predictions/panoptic" / each["file_name"]) as picture:
            ids = np.asarray(picture).astype(int) @ (1, 256, 65536)
        assert ids.shape == (image["height"], image["width"])
        infos = {info["id"]: info for info in each["segments_info"]}
        assert set(np.unique(ids)) - {0} == set(infos)  # panopticapi refuses others
        with Picture.open(here / "predictions/classmap" / each["file_name"]) as picture:
            classes = np.asarray(picture)
        for number, info in infos.items():
            mask, (x, y, w, h) = ids == number, info["bbox"]
            assert mask.sum() == info["area"]
            assert mask[y : y + h, x : x + w].sum() == info["area"]
            assert (classes[mask] == info["category_id"]).all()
            some += 1
        shapes = json.loads((here / f"predictions/labelme/{each['file_name'][:-4]}.json").read_text())["shapes"]
        stuff = [names[info["category_id"]] for info in infos.values() if names[info["category_id"]] in STUFF]
        assert [s["label"] for s in shapes if s["label"] in STUFF] == stuff
        assert all(s["shape_type"] == "mask" for s in shapes)
    assert some
    outcome = segkit("convert", here / "predictions/panoptic.json", "--images-dir", scenes / "images", "--out", "back",
                     "--val", 0)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert len(json.loads((here / "back/train.json").read_text())["annotations"]) == some


@pytest.mark.parametrize(
    ("more", "why", "hint"),
    [
        ((), "--model panoptic: which categories are stuff", "--stuff sky,road"),
        (("--stuff", "sky,sea"), "--stuff sea: {} has no category 'sea'", "it has car, road, sky"),
        (("--stuff", "sky,road,car"), "--stuff sky,road,car: all categories are stuff", "--model unet"),
        (("--model", "fasterrcnn", "--stuff", "sky"), "--stuff is for --model panoptic; fasterrcnn has none", ""),
        (("--model", "unet", "--semantic-weight", 2), "--semantic-weight is for", ""),
        (("--stuff", "sky", "--unlabelled", "x"), "--unlabelled is for maskrcnn, fasterrcnn, unet", ""),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_line(scenes, segkit, tmp_path, more, why, hint):
    options = ("--model", "panoptic", "--device", "cpu", "--weights", "none", "--out", tmp_path, "--steps", 1)
    outcome = segkit("train", scenes, *options, *more)
    assert outcome.code == 1
    assert f"error: {why.format(scenes)}" in outcome.err
    assert hint in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.iterdir())


def test_other_models_write_no_segments_and_views_of_stuff_are_not_averaged(run, segkit, scenes, here):
    outcome = segkit("predict", scenes / "images", "--model", run, "--tta", "flips")
    assert outcome.code == 1
    assert "finds stuff, whose maps are not averaged over views" in outcome.err
    outcome = segkit("train", scenes, "--semantic-weight", "much")
    assert outcome.code == 2
    assert "'much' is neither a number above 0 nor uncertainty" in outcome.err.replace("\n", " ")


@pytest.mark.slow
def test_a_picture_in_tiles_has_the_classes_of_each(run, segkit, scenes, here):
    for name, more in (("whole", ()), ("tiles", ("--tile", 64, "--overlap", 32))):
        outcome = segkit("predict", scenes / "images", "--model", run, "--out", name, "--format", "panoptic", *more)
        assert outcome.code == 0, outcome.err
    both = [json.loads((here / name / "panoptic.json").read_text()) for name in ("whole", "tiles")]
    assert [len(each["annotations"]) for each in both] == [8, 8]
    for path in (here / "tiles/panoptic").iterdir():
        with Picture.open(path) as picture:
            assert picture.size == (SIDE, SIDE)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [None, "uncertainty"])
def test_a_resumed_run_equals_an_uninterrupted_one(scenes, tmp_path, weight):
    some = config(scenes, tmp_path, semantic_weight=weight, schedule="constant", **TINY)
    whole, part = train(replace(some, steps=4)).run, train(replace(some, steps=2)).run
    train(TrainConfig(resume=str(part), steps=4))
    assert losses(part) == losses(whole)
    resumed = weights(part)
    assert all(torch.equal(value, resumed[name]) for name, value in weights(whole).items())
    assert ("log_variances" in resumed) == (weight is not None)


@pytest.mark.slow
def test_it_learns_two_pictures_by_heart(scenes, tmp_path):
    """Things and stuff together: AP of cars, mIoU, and PQ of both rise towards 1."""
    content = json.loads((scenes / "train.json").read_text())
    content["images"] = content["images"][:2]
    ids = {each["id"] for each in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in ids]
    (tmp_path / "two").mkdir()
    for split in ("train", "val"):
        (tmp_path / f"two/{split}.json").write_text(json.dumps(content))
    (tmp_path / "two/images").symlink_to(scenes / "images")
    options = TINY | {"steps": 120, "batch": 2, "augment": "none", "size": 96, "norm": "group", "lr": 1e-3}
    metrics = train(config(tmp_path / "two", tmp_path, **options | {"backbone": "resnet18"})).metrics
    assert metrics.segm.AP > 0.6
    assert metrics.semantic.mIoU > 0.85
    assert metrics.panoptic.PQ > 0.8
    assert metrics.panoptic.things["PQ"] > 0.7
    assert metrics.panoptic.stuff["PQ"] > 0.8


@pytest.mark.slow
def test_ranks_and_micro_batches_learn_the_same(scenes, tmp_path):
    some = config(scenes, tmp_path, batch=4, norm="group", steps=2, semantic_weight="uncertainty", **TINY)
    one, two, small = train(some), train(replace(some, ranks=2)), train(replace(some, micro_batch=1))
    for a, b, c in zip(lines(one.run), lines(two.run), lines(small.run), strict=True):
        for name, value in a["losses"].items():
            assert b["losses"][name] == pytest.approx(value, rel=1e-3, abs=1e-5)
            assert c["losses"][name] == pytest.approx(value, rel=1e-3, abs=1e-5)
    scores = [lines(each.run, "eval")[-1]["panoptic"] for each in (one, two)]
    assert scores[0]["per_category"].keys() == scores[1]["per_category"].keys()


def test_losses_of_a_run_have_both_tasks(run):
    (one,) = losses(run)
    assert {"loss_mask", "loss_semantic", "uncertainty", "loss_classifier"} <= set(one)
    assert all(value > 0 for name, value in one.items() if name not in ("uncertainty", "loss_mask"))


def test_what_is_stuff_follows_labels_whatever_ids_they_have(model):
    card, _ = model
    turned = replace(card, categories=tuple(Category(99 - each.id, each.name) for each in card.categories))
    assert {c.name for c in turned.categories if c.id in turned.stuff} == {"car", "road"}
