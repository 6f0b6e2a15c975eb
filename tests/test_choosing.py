"""Which instances ``predict`` keeps: scores by category, overlaps, limits, and several views of an image."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_discs import disc_model, draw_discs, find_discs, save
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import SETTINGS, card_of, checkpoint

from segkit.config.predict import PredictConfig
from segkit.data.masks import mask_ious, mask_to_rle
from segkit.data.records import Result
from segkit.errors import ConfigError
from segkit.inference.adjust import View, merge_views, views_of, with_views
from segkit.inference.choose import suppressed
from segkit.inference.limits import with_limits
from segkit.inference.model import load

DISCS = [(20, 20, 8, 1), (50, 20, 10, 1), (20, 45, 6, 2), (60, 45, 9, 2)]  # scores fall: 200, 199, 198, 197 of 255


@pytest.fixture
def discs(monkeypatch, tmp_path):
    model = disc_model(tmp_path / "discs.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    return model


def found(segkit, here, *options):
    done = segkit("predict", "in", "--format", "coco", "--force", *options)
    assert done.code == 0, done.err
    results = json.loads((here / "predictions/results.json").read_text())
    return [(r["category_id"], round(r["score"] * 255)) for r in results]


def test_scores_and_categories_choose(segkit, here, discs):
    save(here / "in/a.png", draw_discs(60, 80, DISCS))
    everything = [(1, 200), (1, 199), (2, 198), (2, 197)]
    assert found(segkit, here) == everything
    between = 197.5 / 255
    assert found(segkit, here, "--score", between) == everything[:3]
    assert found(segkit, here, "--score", "a=0.9") == everything[2:]
    assert found(segkit, here, "--score", f"a=0.9,b={between}") == everything[2:3]
    assert found(segkit, here, "--score", "0.9,b=0.1") == everything[2:]
    assert found(segkit, here, "--categories", "b") == everything[2:]
    assert found(segkit, here, "--categories", "a,b", "--max-instances", 3) == everything[:3]


@pytest.mark.parametrize(("option", "value"), [("--score", "c=0.5"), ("--categories", "a,c")])
def test_a_category_that_the_model_does_not_have_is_refused(segkit, here, discs, option, value):
    save(here / "in/a.png", draw_discs(60, 80, DISCS))
    done = segkit("predict", "in", option, value)
    assert done.code == 1
    assert f"error: {option}: the model has no category 'c'" in done.err
    assert not (here / "predictions").exists()


@pytest.mark.parametrize("text", ["1.5", "nan", "a=", "a=2", "=0.5", "worst", "", "a=0.1,a=0.2", "0.1,0.2"])
def test_what_is_no_score_is_refused(segkit, here, text):
    done = segkit("predict", "x.png", f"--score={text}")
    assert done.code == 2
    assert "is not a score such as 0.5" in " ".join(done.err.split())


def test_a_score_of_a_config_file_is_checked(tmp_path):
    with pytest.raises(ConfigError, match=r"score: '5' is not a score such as 0\.5"):
        PredictConfig(source=["x"], score=5)


def test_the_best_score_is_the_one_that_eval_found_for_this_file(segkit, here, discs):
    save(here / "in/a.png", draw_discs(60, 80, DISCS))
    metrics = discs.path.with_name("eval-discs") / "metrics.json"
    refused = segkit("predict", "in", "--score", "best")
    assert refused.code == 1
    assert f"error: --score best: {metrics} has no threshold\nhint: find it: segkit eval" in refused.err

    from segkit.evaluation.provenance import digest_of

    content = {"about": {"subject": {"digest": digest_of(discs.path)}},
               "details": {"overall": {"best": {"score": 198.5 / 255}}}}  # fmt: skip
    earlier = discs.path.with_name("metrics.json")  # where earlier versions wrote it
    for place, other in ((metrics, earlier), (earlier, metrics)):
        other.parent.mkdir(exist_ok=True)
        other.write_text(json.dumps(content | {"about": {"subject": {"digest": "of another model"}}}))
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(content))
        assert found(segkit, here, "--score", "best") == [(1, 200), (1, 199)]
    assert segkit("predict", "in", "--resume", "--score", repr(198.5 / 255), "--format", "coco").code == 0
    discs.path.write_bytes(b"another model")
    refused = segkit("predict", "in", "--score", "best", "--force")
    assert refused.code == 1
    assert "is about another model, or about this one before it changed" in refused.err


def test_the_best_score_after_a_real_evaluation(segkit, here):
    model = checkpoint(here / "run/best.pt", card_of("unet"))
    save(here / "data/images/a.png", np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    box = [2, 2, 40, 30]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1200, "iscrowd": 0,
                  "segmentation": [[2, 2, 42, 2, 42, 32, 2, 32]]}  # fmt: skip
    document = {"images": [{"id": 1, "file_name": "a.png", "height": 48, "width": 64}], "annotations": [annotation],
                "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}  # fmt: skip
    (here / "data/val.json").write_text(json.dumps(document))
    assert segkit("eval", model, "--data", here / "data", "--details", "--device", "cpu").code == 0
    best = json.loads((here / "run/metrics.json").read_text())["details"]["overall"]["best"]["score"]
    assert segkit("predict", here / "data/images", "--model", model, "--score", "best", "--device", "cpu").code == 0
    assert json.loads((here / "predictions/pictures.jsonl").read_text())["score"] == best


def results_of(masks, categories):
    return [
        Result(0, c, 1 - n / 100, None, mask_to_rle(m)) for n, (m, c) in enumerate(zip(masks, categories, strict=True))
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 14)] * 2, *[st.integers(3, 12)] * 2, st.integers(1, 2)), max_size=7),
       st.sampled_from([0.0, 0.2, 0.5, 1.0, None]), st.sampled_from([0.0, 0.3, None]))  # fmt: skip
def test_suppression_is_the_greedy_one_by_masks(places, nms, across):
    masks = []
    for top, left, height, width, _ in places:
        mask = np.zeros((26, 26), np.uint8)
        mask[top : top + height, left : left + width] = 1
        masks.append(mask)
    results = results_of(masks, [each[4] for each in places])
    expected: list[Result] = []
    for result in results:
        limits = [1.0 if across is None else across] * len(expected)
        if nms is not None:
            limits = [
                min(nms, m) if k.category_id == result.category_id else m for k, m in zip(expected, limits, strict=True)
            ]
        ious = mask_ious([result.segmentation], [k.segmentation for k in expected], [False] * len(expected)).ravel()
        if all(iou <= limit for iou, limit in zip(ious, limits, strict=True)):
            expected.append(result)
    assert suppressed(results, 26, 26, nms, across) == expected


def test_boxes_without_masks_are_suppressed_by_their_boxes():
    results = [Result(0, 1, 0.9, (0, 0, 10, 10)), Result(0, 1, 0.8, (1, 0, 10, 10)), Result(0, 2, 0.7, (0, 0, 10, 10))]
    assert suppressed(results, 20, 20, 0.5, None) == [results[0], results[2]]
    assert suppressed(results, 20, 20, None, 0.5) == [results[0]]


def image_of(discs, height=96, width=128):
    return torch.from_numpy(draw_discs(height, width, discs)).permute(2, 0, 1).contiguous()


def test_views_are_undone_exactly():
    """A model whose boxes and masks are those of the drawing gives the same ones for every view."""
    image = image_of([(30.5, 40.5, 9, 1), (80.5, 30.5, 12, 2)])
    image[:, 32:40, 20:30] = image[:, 30:50, 84:99] = 0  # parts without symmetry

    def predict(images):
        out = []
        for found in find_discs(images):
            bitmaps = [torch.from_numpy(mask)[None, None].float() for mask in found.pop("box_masks")]
            masks = [torch.nn.functional.interpolate(m, size=(28, 28), mode="bilinear")[0, 0] for m in bitmaps]
            out.append(found | {"masks": torch.stack(masks)})
        return out

    (plain,) = predict([image])
    for view in views_of(["flips", "scales"]):
        changed = view.image(image)
        (seen,) = predict([changed])
        undone = view.undo(seen, image, changed)
        order = undone["labels"].argsort(), plain["labels"].argsort()
        tolerance = 0.01 if view.scale == 1 else 1.5
        assert torch.allclose(undone["boxes"][order[0]], plain["boxes"][order[1]], atol=tolerance), view
        difference = (undone["masks"][order[0]] - plain["masks"][order[1]]).abs().mean()
        assert float(difference) < tolerance / 20, view


def test_a_score_is_the_mean_over_all_views():
    def view(boxes, scores, labels):
        return {"boxes": torch.tensor(boxes, dtype=torch.float32), "scores": torch.tensor(scores),
                "labels": torch.tensor(labels)}  # fmt: skip

    first = view([[0, 0, 10, 10], [50, 50, 60, 60]], [0.8, 0.6], [1, 1])
    second = view([[1, 0, 11, 10], [0, 0, 10, 10]], [0.9, 0.5], [1, 2])
    merged = merge_views([first, second])
    assert merged["boxes"].tolist() == [[1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 10, 10]]
    assert merged["scores"].tolist() == pytest.approx([0.85, 0.3, 0.25])
    assert merged["labels"].tolist() == [1, 1, 2]


@pytest.mark.parametrize("name", ["unet", "maskrcnn", "fasterrcnn"])
def test_augmented_predictions_are_mirrored_with_the_image(tmp_path, name):
    """With all flips, a mirrored image has the mirrored prediction, whatever the weights are."""
    model = with_views(load(checkpoint(tmp_path / "m.pt", card_of(name, "group")), torch.device("cpu")), ["flips"])
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8))
    with torch.inference_mode():
        (one,), (other,) = model.predict([image]), model.predict([View(flip_x=True).image(image)])
    if name == "unet":
        same = one["semantic"] == other["semantic"][:, ::-1]
        assert same.mean() > 0.99  # sums of fp32 in another order
        return
    assert len(one["scores"]) == len(other["scores"]) > 0
    assert one["scores"].numpy() == pytest.approx(other["scores"].numpy(), abs=1e-3)


def test_an_exported_unet_is_averaged_alike(segkit, tmp_path):
    path = checkpoint(tmp_path / "m.pt", card_of("unet"))
    assert segkit("export", path, "--out", tmp_path / "m.onnx").code == 0
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8))
    with torch.inference_mode():
        maps = [with_views(load(p, torch.device("cpu")), ["flips", "scales"]).predict([image])[0]["semantic"]
                for p in (path, tmp_path / "m.onnx")]  # fmt: skip
    assert (maps[0] == maps[1]).mean() > 0.999


def test_more_instances_than_the_model_was_made_for(segkit, here, tmp_path):
    few = replace(SETTINGS, detections=6)
    path = checkpoint(tmp_path / "m.pt", card_of("fasterrcnn", "group", few))
    save(here / "in/a.png", np.random.default_rng(0).integers(0, 256, (64, 90, 3), dtype=np.uint8))

    def number(*options):
        return len(found(segkit, here, "--model", path, "--score", 0, "--device", "cpu", *options))

    assert number() == 6
    assert 10 < number("--max-instances", 60) <= 60
    assert number("--max-instances", 3) == 3
    assert number("--max-instances", 60, "--nms", 0.01) < number("--max-instances", 60)
    for typed, used in ((None, 0.5), (0.2, 0.5), (0.8, 0.8)):
        assert with_limits(load(path, torch.device("cpu")), None, typed).predict.roi_heads.nms_thresh == used


def test_an_exported_detector_keeps_its_limit(tmp_path):
    model = disc_model(tmp_path / "m.pt")
    card = card_of("maskrcnn")
    from segkit.runtimes.onnx_model import OnnxModel

    exported = type(model)(model.path, OnnxModel.__new__(OnnxModel), card, model.device)
    assert with_limits(exported, 20, None) is exported
    with pytest.raises(ConfigError, match="--max-instances 21: the exported file finds at most 20"):
        with_limits(exported, 21, None)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"min_area": "50px", "max_area": "10px"}, "--min-area 50px: more than --max-area 10px"),
        ({"labels": "name", "format": ("coco",)}, "--labels is for overlays"),
        ({"line_width": 2, "format": ("coco",)}, "--line-width is for overlays"),
        ({"resume": True, "force": True}, "--resume and --force contradict each other"),
    ],
)
def test_options_that_would_do_nothing_or_contradict_are_refused(options, why):
    with pytest.raises(ConfigError, match=why):
        PredictConfig(source=["a"], **options)
    for name in options:
        PredictConfig(source=["a"], **({name: options[name]} if name != "format" else {}))
