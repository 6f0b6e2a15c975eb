"""memprofile --fit: rehearsed steps compared with real ones, the allocator model, and the output of the command."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from real_steps import CONFIGURATIONS, dataset_of, plan_of, real_steps, rehearsed_steps

import segkit
from segkit.loading.sampler import Key
from segkit.memory.simulate.allocator import CachingAllocator, OutOfMemory, least_limit, replay
from segkit.memory.simulate.detector_bounds import RULES
from segkit.memory.simulate.trace import TASKS, Trace
from segkit.memprofile.needs import Overhead
from segkit.training.rehearsal.batches import scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal

MIB = 2**20


@pytest.mark.parametrize(
    "options",
    [
        {"size": 96, "batch": 1},
        {"size": 96, "batch": 2, "micro_batch": 1, "precision": "bf16", "optimizer": "sgd", "memory": "low"},
        {"size": 96, "model": "fasterrcnn", "batch": 1, "backbone": "mobilenet_v3_large", "norm": "group"},
        {"size": 96, "batch": 2, "mask_head": "pointrend", "optimizer": "sgd"},
        {"size": 96, "model": "panoptic", "stuff": ("b",), "batch": 2, "optimizer": "sgd"},
        {"size": 96, "model": "condinst", "batch": 2, "optimizer": "sgd"},
        {"size": 96, "model": "solov2", "batch": 2, "micro_batch": 1, "optimizer": "sgd"},
        {"size": 128, "model": "unet", "batch": 2, "ema": 0.9, "instances": "components"},
        {"size": 96, "model": "unet", "batch": 2, "instances": "distance", "loss": "focal+tversky+lovasz+cldice"},
        {"size": 96, "model": "unet", "batch": 3, "micro_batch": 2, "precision": "bf16", "optimizer": "sgd"},
    ],
)
def test_a_rehearsed_step_has_the_peak_of_a_real_step(options):
    """With the sizes of a real step to a hundredth of a percent; with upper bounds never below."""
    plan = plan_of(dataset_of((128, 160, 3), (96, 128, 10), (128, 96, 1)), "cpu", **options)
    micro = plan.config.micro_batch
    scenes = scenes_of(plan, plan.batch)
    real = real_steps(plan, scenes, micro)
    for measured, rehearsed in zip(real.peaks, rehearsed_steps(plan, scenes, micro, real.sizes), strict=True):
        assert rehearsed == pytest.approx(measured, rel=1e-4)
    assert rehearsed_steps(plan, scenes, micro)[-1] >= max(real.peaks)


@pytest.mark.parametrize("augment", ["none", "medium", "heavy"])
def test_the_last_scene_is_heavier_than_any_real_batch(augment):
    plan = plan_of(dataset_of((128, 160, 3), (96, 128, 10), (160, 96, 1)), "cpu", size=96, batch=4, augment=augment)
    worst = scenes_of(plan, plan.batch)[-1]
    assert [shape.index for shape in worst.shapes] == [1, 0, 2, 1]  # the most instances first, then from the beginning
    assert worst.shapes[0].instances >= 10
    pictures = plan.training_pictures()
    for epoch, image in itertools.product(range(20), range(3)):
        sides = pictures.frame_of(Key(epoch, image))
        assert all(side <= most for side, most in zip(sides, worst.frame, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("pictures", "options"), CONFIGURATIONS)
def test_rehearsed_peaks_over_configurations(pictures, options):
    """benchmarks/fit.py prints the same comparison as a table for docs/benchmarks.md."""
    plan = plan_of(dataset_of(*pictures), **options)
    scenes = scenes_of(plan, plan.batch)
    real = real_steps(plan, scenes, plan.config.micro_batch)
    for measured, rehearsed in zip(
        real.peaks, rehearsed_steps(plan, scenes, plan.config.micro_batch, real.sizes), strict=True
    ):
        assert rehearsed == pytest.approx(measured, rel=1e-3)
    assert rehearsed_steps(plan, scenes, plan.config.micro_batch)[-1] >= max(real.peaks)


def test_the_bound_holds_for_proposals_of_a_trained_model():
    """With many regions around every instance, the sampler takes its maximum; the bound is near the peak."""
    plan = plan_of(dataset_of((96, 96, 8)), size=96, batch=1)
    worst = scenes_of(plan, 1)[-1:]
    trained = real_steps(plan, worst, 1, trained=True)
    assert 128 in trained.sizes[0]
    (bound,) = rehearsed_steps(plan, worst, 1)
    assert trained.peaks[0] <= bound <= 1.05 * trained.peaks[0]


def test_images_without_instances_have_no_positive_regions():
    plan = plan_of(dataset_of((96, 160, 0), (96, 96, 1)), size=96, batch=1)
    scene = scenes_of(plan, 1)[0]
    assert scene.shapes[0].instances == 0
    with Rehearsal(plan, 1) as rehearsal:
        assert "mask targets" not in rehearsal.step(scene).by_category


def test_a_rehearsal_uses_no_memory_and_has_no_side_effects():
    """Huge images take no memory, the random state and modes are unchanged, and an error ends the rehearsal."""
    before, real = torch.get_rng_state(), torch.zeros(2)
    plan = plan_of(dataset_of((4000, 6000, 40)), size=4000, max_size=6000, batch=2)
    with Rehearsal(plan, 2) as rehearsal:
        assert rehearsal.step(scenes_of(plan, 2)[-1]).allocated > 2**35
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(Exception, match="nowhere"), Rehearsal(plan_of(dataset_of((64, 64, 1)), freeze=("nowhere",)), 1):
        pass
    assert type(torch.zeros(1) + real[0]) is torch.Tensor


CHOSEN = [
    {"heads": "v2"},
    {"heads": "v2", "norm": "group", "precision": "bf16"},
    {"fpn_levels": (2, 3, 4), "anchor_sizes": (10, 20, 40, 80), "anchor_ratios": (0.5, 1.0), "roi_size": 5},
    {"fpn_levels": (4,), "model": "fasterrcnn"},
]


@pytest.mark.parametrize("options", CHOSEN)
def test_every_shape_of_a_detector_is_rehearsed(options):
    """No size is guessed, in training and in evaluation."""
    plan = plan_of(dataset_of((128, 160, 9)), size=96, batch=1, **options)
    scene = scenes_of(plan, 1)[-1]
    with Rehearsal(plan, 1) as rehearsal:
        assert rehearsal.step(scene).allocated > 2 * rehearsal.evaluate(scene.shapes[0]).by_category["parameters"]
    assert not rehearsal.oracle.unknown


RESNET50 = {"backbone": "resnet50", "norm": "frozen", "freeze": ("stem",), "optimizer": "sgd"}


@pytest.mark.parametrize(("precision", "most"), [("fp32", 3.4e9), ("bf16", 2.6 * 2**30)])
def test_two_images_of_800_by_1333_need_little(precision, most):
    """detectron2 publishes 3.4 GB and torchvision 5.4 GB, of tensors; in bf16 all that the GPU must have is meant."""
    plan = plan_of(dataset_of((800, 1333, 15)), size=800, max_size=1333, batch=2, precision=precision, **RESNET50)
    scene = scenes_of(plan, 2)[-1]
    with Rehearsal(plan, 2) as rehearsal:
        training = rehearsal.step(scene).allocated
        evaluation = rehearsal.evaluate(scene.shapes[0], 2).allocated
    overhead = 0.0 if precision == "fp32" else Overhead().of(training)
    assert evaluation < training
    assert training + overhead <= most


def test_a_thousand_instances_in_a_large_image_fit_in_6_gib():
    plan = plan_of(dataset_of((1500, 2000, 1000)), size=1500, max_size=2000, batch=1, **RESNET50)
    scene = scenes_of(plan, 1)[-1]
    assert plan.card.settings.detections == 1500
    with Rehearsal(plan, 1) as rehearsal:
        training = rehearsal.step(scene).allocated
        evaluation = rehearsal.evaluate(scene.shapes[0]).allocated
    assert evaluation <= training
    assert training + Overhead().of(training) <= 6 * 2**30


def test_crowded_images_need_no_more_than_others():
    """500 instances: their IoU with all anchors at once took 5.5 GiB, which was the peak."""
    plan = plan_of(dataset_of((800, 1200, 500), (800, 1200, 20)), size=800, batch=1)
    with Rehearsal(plan, 1) as rehearsal:
        parts = rehearsal.step(scenes_of(plan, 1)[-1]).by_category
    assert parts.get("anchor matching", 0) < 0.05 * 5.5 * 2**30
    assert max(parts, key=lambda part: parts[part]) != "anchor matching"


def test_unknown_operations_get_the_largest_size_and_a_note():
    plan = plan_of(dataset_of((64, 64, 1)), size=64, batch=1)
    with Rehearsal(plan, 1) as rehearsal:
        values = torch.empty(7, 3)
        assert torch.masked_select(values, values > 0).shape == (21,)
        assert torch.nonzero(values).shape == (21, 2)
        assert int((values > 0).sum()) == 0
    assert [each.partition(" in ")[0] for each in rehearsal.oracle.unknown] == [
        "aten::masked_select", "nonzero", "a whole number",
    ]  # fmt: skip


def test_autocast_follows_the_rules_of_cuda():
    """Upsampling and group norm in bf16 give fp32 on CUDA and bf16 on a CPU; a U-Net keeps what norms give."""
    plan = plan_of(dataset_of((128, 128, 1)), model="unet", size=128, batch=2, precision="bf16", norm="group")
    peaks = []
    for as_cuda in (False, True):
        with Rehearsal(plan, 2, as_cuda=as_cuda) as rehearsal:
            peaks.append(rehearsal.step(scenes_of(plan, 2)[0]).allocated)
            with torch.autocast("cpu", torch.bfloat16):
                small = torch.empty(1, 1, 4, 4, dtype=torch.bfloat16)
                up = torch.nn.functional.interpolate(small, scale_factor=2.0)
            assert up.dtype is (torch.float32 if as_cuda else torch.bfloat16)
    assert peaks[0] < peaks[1]


def test_a_trace_records_its_peak():
    with Trace() as trace:
        with trace.doing("kept"):
            kept = torch.empty(1000, dtype=torch.uint8)
        with trace.doing("passing"):
            torch.empty(5000, dtype=torch.uint8)
        view = kept[10:]
        assert trace.peak() == (6000, {"kept": 1000, "passing": 5000})
        trace.reset_peak()
        trace.transient(300)
        assert trace.peak().allocated == 1300
        del kept
        assert trace.allocated == 1000
        del view
        assert trace.allocated == 0
    assert sum(size for _, size in trace.events) == 6300
    assert len(trace.events) == 6


@pytest.mark.parametrize("expandable", [False, True])
def test_the_allocator_model_rounds_blocks_and_segments(expandable):
    """The numbers were computed by hand from the rules in the module."""
    allocator = CachingAllocator(expandable=expandable)
    allocator.allocate(1, 1)
    assert (allocator.allocated, allocator.reserved) == (512, 2 * MIB)
    allocator.allocate(2, 5 * MIB)
    assert (allocator.allocated, allocator.reserved) == (512 + 5 * MIB, 22 * MIB)
    allocator.allocate(3, 25 * MIB + 1)  # a segment of its own; or 10 more MiB than the 15 that are free at the end
    assert allocator.reserved == (48 * MIB if not expandable else 42 * MIB)
    whole = 26 * MIB if not expandable else 25 * MIB + 512
    assert allocator.allocated == 512 + 5 * MIB + whole
    for number in (1, 2, 3):
        allocator.release(number)
    assert allocator.allocated == 0
    held = allocator.reserved
    allocator.allocate(4, 20 * MIB)
    assert allocator.reserved == held


def test_free_neighbours_are_merged_and_unused_segments_are_freed_when_memory_is_short():
    allocator = CachingAllocator(limit=40 * MIB)
    for number in range(4):
        allocator.allocate(number, 5 * MIB)  # one segment of 20 MiB
    for number in (1, 3, 2):
        allocator.release(number)
    allocator.allocate(5, 15 * MIB)
    assert allocator.reserved == 20 * MIB
    for number in (0, 5):
        allocator.release(number)
    allocator.allocate(6, 38 * MIB)  # only when the free segment has gone back
    assert allocator.reserved == 38 * MIB
    with pytest.raises(OutOfMemory):
        allocator.allocate(7, 5 * MIB)


def test_variable_sizes_fragment_and_expandable_segments_do_not():
    events = []
    for step, size in enumerate((30, 34, 38, 42, 46)):
        events += [(2 * step, size * MIB), (2 * step + 1, 11 * MIB), (2 * step, 0), (2 * step + 1, 0)]
    native, expandable = (replay(events, (len(events),), expandable=each) for each in (False, True))
    assert native.allocated == (58 * MIB,)  # the second block has a segment of 12 MiB, too little more to cut
    assert expandable.allocated == (57 * MIB,)
    assert native.reserved[0] > 100 * MIB > 60 * MIB >= expandable.reserved[0]
    assert replay(events, (len(events),), limit=60 * MIB).reserved[0] <= 60 * MIB
    assert 58 * MIB <= least_limit(events, len(events)) <= 59 * MIB


def write(folder, data):
    """Write a dataset without image files, in the form that convert writes."""
    folder.mkdir()
    images = [{"id": i.id, "file_name": i.file_name, "height": i.height, "width": i.width} for i in data.images]
    annotations = [
        {"id": a.id, "image_id": a.image_id, "category_id": 1, "bbox": a.bbox, "area": a.area, "iscrowd": 0,
         "segmentation": a.segmentation} for a in data.annotations
    ]  # fmt: skip
    text = json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]})
    (folder / "train.json").write_text(text, encoding="utf-8")
    return folder


def test_fit_reports_what_fits_and_the_command_that_fits(here, segkit):
    """For a GPU that is too small it prints a command, and the training of this command fits by the same estimate."""
    write(here / "d", dataset_of((256, 256, 9), (256, 320, 2)))
    model = 'model = "unet"\nsize = 256\nbatch = 16\nweights = "none"\nnorm = "group"\n'
    Path("c.toml").write_text(f'dataset = "d"\n{model}', "utf-8")
    outcome = segkit("memprofile", "--fit", "--vram", "2500MiB,24GiB", "c.toml", "--json")
    document = json.loads(outcome.out)
    assert outcome.code == 4
    assert document == json.loads(Path("memprofile/fit.json").read_text("utf-8"))
    small, large = document["vram"]
    assert (document["verdict"], large["verdict"], large["cheapest"]) == (small["verdict"], "fits", None)
    assert small["verdict"] in ("tight", "does not fit")
    command = small["cheapest"]["command"]
    assert command.startswith("segkit train --config c.toml --")
    chosen = next(row for row in document["settings"] if row["options"] == small["cheapest"]["options"])
    assert chosen["needed"]["at_most"] <= 2500 * MIB < document["settings"][0]["needed"]["at_most"]
    for row in document["settings"]:
        assert row["allocated"]["now"] <= row["allocated"]["at_most"] <= row["reserved"]["at_most"]
        assert row["allocated"]["at_most"] < row["needed"]["at_most"] >= row["needed"]["now"]
    assert document["binding"]["part"].startswith("the decoder")
    for words in ("as configured", "this fits: segkit train --config c.toml", "24 GiB: fits", "a crop"):
        assert words in outcome.err
    changed = dict(zip(command.split()[4::2], command.split()[5::2], strict=True))
    lines = "".join(f"{k[2:].replace('-', '_')} = {v if v.isdigit() else repr(v)}\n" for k, v in changed.items())
    kept = [line for line in Path("c.toml").read_text("utf-8").splitlines() if f"--{line.split()[0]}" not in changed]
    Path("d.toml").write_text("\n".join(kept) + "\nlabel_share = 0.5\n" + lines, "utf-8")
    assert segkit("memprofile", "--fit", "--vram", "2500MiB", "d.toml").code == 0
    of_part = json.loads(Path("memprofile/fit.json").read_text("utf-8"))["training"]
    assert (document["training"]["images"], of_part["images"]) == (2, 1)


def test_fit_takes_a_dataset_and_a_measured_overhead(here):
    """As a user starts it, with the sizes of common GPUs."""
    write(here / "dataset", dataset_of((64, 64, 1)))
    command = [sys.executable, "-m", "segkit", "memprofile", "--fit", "--overhead", "700MiB", "dataset"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "24 GiB: fits" in done.stdout, "what was asked for"
    assert "as given with --overhead" in done.stdout
    assert "fit.json" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["--vram", "6GiB"], 1, "--vram goes with --fit", "--fit --vram 8GiB"),
        (["--overhead", "1GiB"], 1, "--overhead goes with --fit", "--fit --overhead 8GiB"),
        (["--fit", "--vram", "six"], 2, "'six' is not a size such as 6GiB or 800MB", "--help"),
        (["--fit", "--vram", ","], 2, "not a list of sizes", "--help"),
        (["--fit", "--vram", "6,12"], 1, "--vram: a GPU of 6 bytes", "sizes take units"),
        (["--fit", "--", "train.py"], 1, "segkit's own training, not a script", "--limit 8GiB -- train.py"),
        (["--fit", "--explain", "m.json"], 1, "--fit and --explain do not go together", "leave one"),
        (["--fit", "--limit", "8GiB"], 1, "--fit and --limit do not go together", "leave one"),
        (["--fit"], 1, "neither runs/latest nor ./dataset is here", "name a run"),
        (["--fit", "nowhere"], 1, "nowhere: not a run", "train one"),
        (["--fit", "empty"], 1, "the training split has no images", "smaller --val"),
        (["--fit", "bare"], 1, "the training split has no annotations", None),
    ],
)
def test_errors_of_fit_are_one_line(here, segkit, arguments, code, message, hint):
    write(here / "empty", dataset_of())
    write(here / "bare", dataset_of((64, 64, 0)))
    outcome = segkit("memprofile", *arguments)
    assert outcome.code == code
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert message in outcome.err.splitlines()[0]
    assert hint is None or hint in outcome.err
    assert not Path("memprofile").exists()


def test_every_rule_names_a_function_that_exists():
    """The rehearsal recognises functions by name: a rule for a function that was renamed would do nothing."""
    folders = (Path(segkit.__file__).parent, Path(torchvision.models.detection.__file__).parent,
               Path(torchvision.ops.__file__).parent)  # fmt: skip
    text = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    defined = set(re.findall(r"def (\w+)\(", text))
    assert {name.partition(":")[0] for name in (*RULES, *TASKS)} <= defined
