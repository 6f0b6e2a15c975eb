"""Parts of the labels, and what their scores say about more of them."""

import html
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from real_steps import dataset_of
from test_report_pages import typed
from training import TINY

from segkit.config.fields import write_toml
from segkit.config.train import TrainConfig
from segkit.data.records import Annotation
from segkit.data.stratify import part_of, stratified_order
from segkit.training.label_curve.curve import SHARES, document_of, train_curve
from segkit.training.label_curve.draw import draw_label_curve
from segkit.training.label_curve.next_steps import next_steps
from segkit.training.label_curve.page import write_page
from segkit.training.label_curve.power_law import PowerLaw


def test_every_beginning_of_a_stratified_order_has_the_shares_of_the_whole():
    data = dataset_of(*[(32, 32, 0)] * 80)
    found = [
        Annotation(n, 1 + n % 80, 2 if n % 80 < 16 else 1, [], (0.0, 0.0, 4.0, 4.0), 16.0) for n in range(200) if n % 5
    ]
    from dataclasses import replace

    data = replace(data, annotations=tuple(found))
    order = stratified_order(data, 3)
    assert sorted(order) == list(range(80))
    assert order == stratified_order(data, 3) != stratified_order(data, 4)
    whole = Counter(a.category_id for a in found)
    for count in (10, 20, 40):
        part = part_of(data, order[:count])
        assert len(part.images) == count
        have = Counter(a.category_id for a in part.annotations)
        for category, number in whole.items():
            assert have[category] == pytest.approx(number * count / 80, abs=max(2, 0.2 * number * count / 80))


def test_a_power_law_is_found_and_says_how_sure_it_is():
    sizes = [25, 25, 50, 50, 100, 100, 200, 200]
    rng = np.random.default_rng(0)
    scores = [0.8 - 2 / n**0.5 + rng.normal(0, 0.005) for n in sizes]
    law = PowerLaw.through(sizes, scores)
    assert law.limit == pytest.approx(0.8, abs=0.02)
    assert law.at(400) == pytest.approx(0.7, abs=0.02)
    assert law.exponent == 0.5
    assert law.exponents[0] < 0.5 < law.exponents[1]
    low, high = law.interval(400)
    assert low < law.at(400) < high
    assert 0 < law.plus_minus(400) < 0.05
    assert law.plus_minus(6400) > law.plus_minus(400) > law.plus_minus(60)
    assert PowerLaw.through([10, 10], [0.1, 0.2]) is None
    assert PowerLaw.through([10, 20], [0.1, 0.2]).plus_minus(40) is None
    assert PowerLaw.through([10, 20], [0.1, 0.9]).at(1e6) == 1.0


def test_another_exponent_is_fitted_where_scores_contradict_the_usual_one():
    sizes = [25, 25, 50, 50, 100, 100, 200, 200]
    for exponent in (0.2, 1.2):
        noise = [0.001, -0.001] * 4
        law = PowerLaw.through(sizes, [0.8 - n**-exponent + each for n, each in zip(sizes, noise, strict=True)])
        assert law.exponent == pytest.approx(exponent, abs=0.11)
        assert law.exponents[0] <= exponent <= law.exponents[1]
        assert not law.exponents[0] <= 0.5 <= law.exponents[1]
        low, high = law.interval(400)
        assert low < 0.8 - 400**-exponent < high
    few = PowerLaw.through(sizes[1::2], [0.8 - n**-0.2 for n in sizes[1::2]])
    assert (few.exponent, few.exponents) == (0.5, None)  # four scores cannot tell
    assert few.interval(400) is not None


def curve_of(noise, rise):
    """The document of eight runs, whose scores rise with the labels."""
    rng = np.random.default_rng(0)
    points = []
    for share in SHARES:
        for seed in (0, 1):
            score = 0.6 - rise / (160 * share) ** 0.5 + rng.normal(0, noise)
            categories = {"<cell>": score - 0.02, "gap": 0.6 - 2 * (0.6 - score)}
            points.append({"share": share, "seed": seed, "images": int(160 * share), "metric": "segm AP",
                           "score": score, "per_category": categories})  # fmt: skip
    return document_of(points)


@pytest.mark.parametrize(
    ("noise", "rise", "commands"),
    [
        (0.002, 2.0, ["label PICTURES --next 20 --model {run}", "predict PICTURES --model {run}"]),
        (0.00001, 0.02, ["eval {run} --report", "predict PICTURES --model {run}"]),
        (0.1, 1.0, ["train --config {folder}/config.toml --out {out} --curve-seeds 4", None, None]),
    ],
)
def test_a_label_curve_says_what_to_do_next(tmp_path, noise, rise, commands):
    folder = tmp_path / "my runs/c"
    folder.mkdir(parents=True)
    write_toml(TrainConfig(label_curve=True, out=folder), folder / "config.toml")
    document = curve_of(noise, rise)
    steps = next_steps(folder, document, 2)
    best = max(document["points"][-2:], key=lambda point: point["score"])["seed"]
    places = {"run": f"'{folder}/8of8-seed{best}'", "folder": f"'{folder}", "out": f"'{folder.parent}'"}
    wanted = [each and "segkit " + each.format(**places).replace("/config.toml", "/config.toml'") for each in commands]
    assert [step.command if each else None for step, each in zip(steps, wanted, strict=True)] == wanted
    typed(step.command for step in steps)
    if len(commands) == 2 and "label" in commands[0]:
        assert "Those with 'gap' count most." in steps[0].why
    page = write_page(folder, document | {"next": [step._asdict() for step in steps]}, {"dataset": "a<b"})
    text = html.unescape(page.read_text())
    assert re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL) == [step.command for step in steps]
    assert "<cell>" not in page.read_text()
    draw_label_curve(folder, document)
    assert {path.name for path in folder.iterdir()} == {"config.toml", "curve.html", "curve.png"}


@pytest.mark.slow
def test_a_label_curve_is_trained_and_goes_on_where_it_ended(dataset, tmp_path, segkit):
    options = TINY | {"backbone": "mobilenet_v3_large", "dataset": dataset, "out": tmp_path}
    curve = train_curve(TrainConfig(**options, model="unet", batch=2, steps=1, label_curve=True, curve_seeds=1))
    document = json.loads((curve.folder / "curve.json").read_text())
    assert document == curve.document
    assert [point["images"] for point in document["points"]] == [1, 2, 4, 9]
    assert document["gains_most"] in document["points"][0]["per_category"]
    assert {"curve.png", "curve.html"} <= {path.name for path in curve.folder.iterdir()}
    shutil.rmtree(curve.folder / "4of8-seed0")
    (curve.folder / "8of8-seed0/score.json").unlink()
    kept = (curve.folder / "1of8-seed0/score.json").stat().st_mtime_ns
    outcome = segkit("train", "--resume", curve.folder, "--json")
    assert outcome.code == 0, outcome.err
    assert "now with 9 labelled images" in outcome.err
    assert "Next:" in outcome.err
    assert json.loads(outcome.out)["points"] == document["points"]
    assert (curve.folder / "1of8-seed0/score.json").stat().st_mtime_ns == kept
    assert "lr cannot be changed" in segkit("train", "--resume", curve.folder, "--lr", 0.1).err
