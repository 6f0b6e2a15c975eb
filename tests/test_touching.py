"""Instances that touch come apart: by distances from the edge, on every road that a U-Net goes."""

import json

import numpy as np
import pytest
import torch
from conftest import Segkit
from PIL import Image as Picture
from random_models import card_of
from training import config, losses

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.data.geometry import Framing
from segkit.data.touching import SCALE, normalised_distances, paint_instances, part
from segkit.errors import ConfigError
from segkit.formats.dataset_folder import open_split
from segkit.loading.dataset import Pictures
from segkit.loading.sampler import Key
from segkit.models.card import ModelCard
from segkit.models.unet import instances_of, split_instances
from segkit.models.unet_settings import UnetSettings
from segkit.training.measure_touching import measure_touching
from segkit.training.train import train


def discs(height, width, *places):
    """The instances of discs (x, y, radius), [H, W], later ones over earlier ones."""
    out = np.zeros((height, width), np.int32)
    rows, columns = np.mgrid[:height, :width]
    for number, (x, y, radius) in enumerate(places, 1):
        out[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = number
    return out


TWO = discs(40, 70, (20, 20, 12), (41, 20, 9))


def test_a_distance_is_one_in_the_middle_of_every_instance_and_small_where_two_touch():
    found = normalised_distances(TWO).astype(float) / SCALE
    assert found[20, 20] == 1
    assert found[20, 41] == pytest.approx(1, abs=0.1)
    assert found[TWO == 0].max() == 0
    assert found[20, 32:34].max() < 0.2
    assert found[20, 8:20].tolist() == sorted(found[20, 8:20].tolist())


def test_the_border_of_the_image_is_not_the_edge_of_an_instance():
    half = normalised_distances(discs(40, 30, (0, 20, 12)))
    assert half[20, 0] == SCALE
    assert (normalised_distances(np.ones((5, 7), np.int32)) == SCALE).all()


def test_true_distances_part_discs_that_touch_to_the_pixel():
    parts = part(TWO > 0, normalised_distances(TWO).astype(np.float32) / SCALE)
    overlaps = [np.sum((n == TWO) & (parts == parts[20, x])) / np.sum((n == TWO) | (parts == parts[20, x]))
                for n, x in ((1, 20), (2, 41))]  # fmt: skip
    assert min(overlaps) > 0.97
    assert part(TWO == 1, normalised_distances(TWO).astype(np.float32) / SCALE) is None


def test_instances_of_several_categories_come_apart_by_the_same_distances():
    instances = discs(40, 110, (20, 20, 12), (41, 20, 9), (59, 20, 9), (75, 20, 9))
    labels = np.where(instances > 2, 2, np.minimum(instances, 1)).astype(np.uint8)
    distances = normalised_distances(instances).astype(np.float32) / SCALE
    sure = np.full(labels.shape, 0.9, np.float32)
    assert instances_of(labels, sure)["labels"].tolist() == [1, 2]
    assert sorted(instances_of(labels, sure, distances)["labels"].tolist()) == [1, 1, 2, 2]


def test_instances_that_cover_one_another_have_the_pixels_that_are_seen():
    labels = np.ones((6, 6), np.uint8)
    labels[0], labels[5] = 255, 0
    everywhere, part_of_it = (0, 0, np.ones((6, 6), np.uint8)), (2, 2, np.ones((2, 2), np.uint8))
    found = paint_instances(labels, [everywhere, part_of_it])
    assert (found[[0, 5]] == 0).all()
    assert (found == 2).sum() == 4
    assert (found == 1).sum() == 20


def make_cells(folder, pictures=6, touching=True):
    """Pictures of discs in pairs, that touch or not, with masks of instance numbers."""
    rng = np.random.default_rng(0)
    for number in range(pictures):
        gap = 17 if touching else 22
        y, x = rng.integers(14, 50), rng.integers(14, 30)
        instances = discs(64, 64, (x, y, 9), (x + gap, y, 9))
        pixels = np.where(instances[..., None] > 0, (200, 80, 120), (20, 30, 40)).astype(np.uint8)
        for name, what in (("images", pixels), ("masks", instances.astype(np.uint8))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Picture.fromarray(what).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    from segkit.config.convert import ConvertConfig
    from segkit.conversion.convert import convert

    folder = tmp_path_factory.mktemp("cells")
    for name, touching in (("touching", True), ("apart", False)):
        source = make_cells(folder / f"{name} source", touching=touching)
        convert(ConvertConfig(src=str(source), out=folder / name, source_format="idmask", val=0.34))
    return folder


def test_touching_is_measured(cells):
    touching, apart = (measure_touching(open_split(cells / name, "train")) for name in ("touching", "apart"))
    assert (touching.images, touching.instances, touching.parted) == (4, 8, 8)
    assert touching.connected <= 4
    assert touching.best == "distance"
    assert (apart.instances, apart.connected, apart.parted, apart.best) == (8, 8, 8, "components")
    assert "of 8 instances in 4 images, connected components are 8" in str(apart)


@pytest.mark.parametrize("augment", ["none", "light", "heavy"])
def test_targets_part_the_instances_of_the_augmented_picture(cells, augment):
    pictures = Pictures(
        open_split(cells / "touching", "train"), Framing("semantic", 64, 64), seed=0, augment=augment,
        accept_boxes=False, distances=True,
    )  # fmt: skip
    for index in range(len(pictures)):
        target = pictures[Key(0, index, 0)].target
        labels, distances = target["semantic"].numpy(), target["distances"].numpy()
        assert distances.dtype == np.uint8
        assert not distances[labels != 1].any()
        both = measure_touching(open_split(cells / "touching", "train")) if augment == "none" else None
        assert both is None or both.parted == 8
        if augment == "none":
            found = instances_of(labels, np.ones(labels.shape, np.float32), distances / np.float32(SCALE))
            assert len(found["boxes"]) == 2


def distance_card(**more):
    card = card_of("unet", "group", **more)
    object.__setattr__(card, "unet", UnetSettings("distance", (1.0, 2.0, 0.5), 0.1))
    return card


def test_the_card_keeps_what_a_unet_is_made_with_and_older_cards_are_without():
    card = distance_card()
    plain = json.loads(json.dumps(card.to_plain()))
    assert ModelCard.from_plain(plain) == card
    del plain["unet"]
    assert ModelCard.from_plain(plain).unet == UnetSettings()


def test_the_parameters_of_a_unet_without_distances_are_as_they_were():
    names = [set(card.build().state_dict()) for card in (card_of("unet"), distance_card())]
    assert names[1] - names[0] == {"distance.weight", "distance.bias"} | {
        name for name in names[1] - names[0] if not name.startswith("distance")
    }
    assert not any("class_weights" in name or "distance" in name for name in names[0])


def test_split_instances_takes_the_last_map_for_distances():
    maps = np.zeros((3, *TWO.shape), np.float32)
    maps[0], maps[1] = np.where(TWO > 0, 0.1, 0.8), np.where(TWO > 0, 0.9, 0.2)
    maps[2] = normalised_distances(TWO) / SCALE
    assert len(split_instances(torch.from_numpy(maps[:2]))["boxes"]) == 1
    assert len(split_instances(torch.from_numpy(maps), "distance")["boxes"]) == 2


@pytest.fixture(scope="module")
def run(cells):
    """A run on cells that touch, with the head by default, an odd sum of losses and weights of classes."""
    some = config(
        cells / "touching", cells / "runs", model="unet", backbone="mobilenet_v3_small", steps=2, name="r",
        loss="0.5*ce+tversky", class_weights="auto", label_smoothing=0.1, schedule="constant", warmup=0,
    )  # fmt: skip
    return train(some).run


def test_the_head_is_there_by_default_where_instances_touch(run, cells):
    assert list(losses(run)[0]) == ["ce", "tversky", "distance"]
    stored = load_config(TrainConfig, run / "config.toml")
    assert (stored.instances, stored.class_weights, stored.loss) == ("distance", "auto", "0.5*ce+tversky")
    card = ModelCard.from_plain(torch.load(run / "last.pt", weights_only=True)["card"])
    assert card.unet.instances == "distance"
    assert card.unet.class_weights is not None
    assert card.unet.class_weights[0] < 1 < card.unet.class_weights[1]


def test_a_run_with_the_head_resumes_to_the_bit(run, cells):
    options = {"model": "unet", "backbone": "mobilenet_v3_small", "loss": "0.5*ce+tversky", "class_weights": "auto",
               "label_smoothing": 0.1, "schedule": "constant", "warmup": 0}  # fmt: skip
    part_of_it = train(config(cells / "touching", cells / "runs", steps=1, name="part", **options)).run
    train(TrainConfig(resume=str(part_of_it), steps=2))
    one, other = (torch.load(each / "last.pt", weights_only=True)["model"] for each in (run, part_of_it))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_roads_of_a_run_with_the_head(run, cells, segkit: Segkit, here):
    data = cells / "touching"
    scored = segkit("eval", run, "--data", data, "--device", "cpu", "--out", "e", "--json")
    assert scored.code == 0
    assert segkit("export", run, "--out", "m.onnx", "--tolerance", 0.01).code == 0
    from_file = segkit("eval", "m.onnx", "--data", data, "--out", "f", "--json")
    assert from_file.code == 0
    one, other = (json.loads(outcome.out)["semantic"]["mIoU"] for outcome in (scored, from_file))
    assert one == pytest.approx(other, abs=1e-3)
    for number, (model, more) in enumerate(((run, ["--tile", 48]), ("m.onnx", ["--tta", "flips"]))):
        outcome = segkit("predict", data / "images/0.png", "--model", model, "--device", "cpu", "--score", 0, *more,
                         "--out", f"p{number}")  # fmt: skip
        assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_the_memory_of_a_run_with_the_head_is_estimated(run, segkit: Segkit, here):
    assert segkit("memprofile", run, "--fit", "--vram", "8GiB", "--out", "fit").code == 0


def test_options_of_a_unet_are_refused_elsewhere(segkit, dataset):
    for option, value in (("--instances", "distance"), ("--class-weights", "auto"), ("--label-smoothing", 0.1)):
        outcome = segkit("train", dataset, option, value)
        assert outcome.code == 1
        assert f"error: {option} is for --model unet; maskrcnn has none" in outcome.err
    with pytest.raises(ConfigError, match="which --loss dice is without"):
        TrainConfig(model="unet", loss="dice", label_smoothing=0.1)


def test_a_class_weight_of_no_category_names_those_that_there_are(segkit, dataset, here):
    outcome = segkit("train", dataset, "--model", "unet", "--class-weights", "roof=2", "--weights", "none")
    assert outcome.code == 1
    assert "has no category 'roof'" in outcome.err
    assert "it has background, " in outcome.err


def test_named_class_weights_are_in_the_order_of_labels(tmp_path, dataset):
    from segkit.training.unet_defaults import unet_settings_for

    training = open_split(dataset, "train")
    names = [category.name for category in training.categories]
    given = TrainConfig(dataset=dataset, model="unet", class_weights=((names[1], 5.0), ("background", 0.5)))
    weights = unet_settings_for(given, training)[0].class_weights
    assert weights == (0.5, *(5.0 if name == names[1] else 1.0 for name in names))


def test_categories_with_few_pixels_are_named_before_the_training(tmp_path):
    from segkit.data.records import Annotation, Category, Dataset, Image
    from segkit.training.unet_defaults import unet_settings_for

    categories = tuple(Category(number, name) for number, name in enumerate(("road", "tree", "pole"), 1))
    areas = {1: 5000.0, 2: 3000.0, 3: 40.0}
    data = Dataset(
        (Image(1, "a.png", 100, 100),),
        tuple(Annotation(n, 1, n, None, (0, 0, 10, 10), area) for n, area in areas.items()), categories, tmp_path,
    )  # fmt: skip
    asked = TrainConfig(dataset=tmp_path, model="unet", instances="components")
    settings, notes = unet_settings_for(asked, data)
    assert settings.class_weights is None
    assert len(notes) == 1
    assert notes[0].startswith("few pixels have pole: ")
    assert "--class-weights auto" in notes[0]


@pytest.mark.slow
def test_a_unet_learns_to_part_discs_that_touch(cells):
    some = config(
        cells / "touching", cells / "runs", model="unet", steps=120, name="learns", size=64, batch=4, lr=2e-3,
        augment="none",
    )  # fmt: skip
    summary = train(some)
    assert summary.metrics.segm.AP50 > 0.9
