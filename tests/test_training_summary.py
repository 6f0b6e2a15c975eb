"""What the end of a training shows: the scores of the model that is kept, not those of the last step."""

import json
from pathlib import Path

import pytest

from segkit.commands.output import Output
from segkit.commands.render.models import render_training
from segkit.evaluation.metrics import InstanceMetrics, Metrics
from segkit.runs.folder import METRICS
from segkit.training.next_steps import next_steps
from segkit.training.summary import TrainingSummary, _evaluations

LONGER = "segkit train --resume 'a run' --steps 40"
REPORT = "segkit eval 'a run' --report"
PREDICT = "segkit predict PICTURES --model 'a run'"


def scored(ap):
    numbers = dict.fromkeys(("AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"), ap)
    return Metrics(
        images=2, max_dets=100, segm=InstanceMetrics(AP=ap, **numbers, per_category={"cell": numbers | {"AP": ap}})
    )


def test_the_table_is_that_of_the_best_model(tmp_path, capfd):
    lines = [{"kind": "eval", "step": step, "epoch": 1} | scored(ap).to_json() for step, ap in ((10, 0.75), (20, 0.25))]
    cut_off = '{"kind": "eval", "step": 10'
    (tmp_path / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines) + cut_off)
    evaluations = _evaluations(tmp_path)
    assert evaluations == {10: scored(0.75), 20: scored(0.25)}
    best = evaluations[10]
    summary = TrainingSummary(
        run=tmp_path, ended="complete", steps=20, epochs=1.0, seconds=1.0, metrics=scored(0.25),
        score=("mask AP", 0.75),
        best_step=10, skipped=0, bad_pictures=0, micro_batch=1, is_main=True, best=best,
    )  # fmt: skip
    render_training(summary, Output(as_json=True))
    said = capfd.readouterr()
    assert "best.pt is the model after step 10, which scored:" in said.err
    assert "0.750" in said.err
    assert "0.250" not in said.err
    document = json.loads(said.out)
    assert (document["metrics"]["segm"]["AP"], document["best_metrics"]["segm"]["AP"]) == (0.25, 0.75)


def test_a_line_of_another_version_is_not_shown_as_a_score(tmp_path):
    (tmp_path / METRICS).write_text('{"kind": "eval", "step": 10, "epoch": 1, "images": "many"}\n')
    assert _evaluations(tmp_path) == {}
    assert _evaluations(tmp_path / "gone") == {}


@pytest.mark.parametrize(
    ("ended", "scores", "best", "commands"),
    [
        ("complete", {10: 0.5, 20: 0.4}, 10, [REPORT, PREDICT]),
        ("complete", {10: 0.4, 20: 0.5}, 20, [LONGER, REPORT, PREDICT]),
        ("patience", {10: 0.4, 20: 0.5}, 20, [REPORT, PREDICT]),
        ("time", {20: 0.0}, 20, [LONGER]),
        ("complete", {}, 0, [PREDICT]),
        ("interrupted", {10: 0.5}, 10, ["segkit train --resume 'a run'"]),
    ],
)
def test_what_to_do_next_follows_from_the_scores(ended, scores, best, commands):
    evaluations = {step: scored(ap) for step, ap in scores.items()}
    steps = next_steps(Path("a run"), ended, 20, evaluations, best)
    assert [step.command for step in steps] == commands
