"""What pages share: the head, what to do next, choices and large pictures without a script, narrow screens."""

import base64
import html
import io
import json
import re
import shlex

import numpy as np
import pytest
from browser import render
from coco_files import annotation, document, draw, write
from matplotlib.figure import Figure
from PIL import Image as Picture
from test_evaluate_report import hostile_pair
from typer.main import get_command

from segkit.cli import app
from segkit.config.memprofile import MemprofileConfig
from segkit.evaluation.report.plots import confusion
from segkit.memory.report.page import render_page as memory_page
from segkit.memprofile.next_steps import next_steps
from segkit.pages import filter_of, page_environment
from segkit.runs.curves import best_step, draw_curves

RED, GREEN, BLUE = (220, 30, 40), (30, 160, 60), (40, 60, 220)


def typed(commands):
    """Raise what is wrong with the options of commands."""
    main = get_command(app)
    for command in commands:
        for part in command.split(" && "):
            program, name, *words = shlex.split(part)
            assert program == "segkit"
            main.commands[name].make_context(name, words)


def test_a_report_says_what_it_is_of_and_what_to_do_next(segkit, here):
    hostile_pair(here)
    done = segkit("eval", "r.json", "--data", "t.json", "--report", "--score", 0.2, "--images-dir", here)
    page = html.unescape((here / "evaluation/report.html").read_text(encoding="utf-8"))
    facts = dict(re.findall(r"<dt>([a-z ]+)</dt><dd>([^<]*)</dd>", page))
    assert facts["results"] == "r.json"
    assert facts["dataset"] == "t.json"
    assert facts["data"].startswith("8 images, ")
    assert facts["options"] == f"--images-dir {here}, --score 0.2"
    assert "segkit " in facts["made with"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["date"])
    commands = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert [command.split()[1] for command in commands] == ["eval", "check"]
    assert "--score " in commands[0]
    typed(commands)
    lines = done.err.splitlines()
    assert [line.strip() for line in lines if line.startswith("    segkit ")] == commands, "as on the page, in one line"
    assert lines.index("Next:") < lines.index("    " + commands[0])
    best = re.search(r"best F1 [\d.]+, with --score ([\d.]+)", done.out)[1]
    assert f"--score {best} " in commands[0]
    for kind in ("class", "localisation", "both", "duplicate", "background", "missed"):
        images = len(re.findall(rf'<div class="image item[^"]*instances-error-{_number(page, kind)}\b', page))
        assert f"{kind} ({images})" in page or not images

    width, rows = laid_out(here / "evaluation/report.html", here)
    assert width <= 400, "nothing beside the tables needs a wider screen"
    assert ["mask", 1] in rows
    assert len(rows) > 8
    assert all(lines <= 1 + len(text) // 12 for text, lines in rows), rows


def laid_out(page, folder):
    """The width of a page and the lines of its first cells on a screen of 400 pixels, by a script around the page."""
    text = html.escape(page.read_text(encoding="utf-8"))
    (folder / "around.html").write_text(
        f'<meta charset="utf-8"><iframe width=400 height=900 srcdoc="{text}"></iframe><script>'
        "const frame = document.querySelector('iframe'); frame.onload = () => {"
        "const rows = [...frame.contentDocument.querySelectorAll('td:first-child')].map(cell =>"
        "[cell.textContent.replace(/[^a-z]/g, '-'), Math.round(cell.clientHeight / 22)]);"
        "console.log('ROWS ' + JSON.stringify([frame.contentDocument.body.scrollWidth, rows])); }</script>"
    )
    _, console = render(folder / "around.html", folder / "around.png", 600, 900)
    return json.loads(re.search(r"ROWS (\[.*\])\"", console)[1].replace('\\"', '"'))


def _number(page, kind):
    found = re.search(rf'for="instances-error-(\d+)">{kind} \(', page)
    return found[1] if found else "none"


def test_a_check_says_how_to_correct(segkit, here):
    draw(here / "in")
    twice = [annotation(1, 1), annotation(2, 1), annotation(3, 2)]
    write(here / "in/t.json", document(twice))
    done = segkit("check", "in/t.json", "--out", "checked", "--images-dir", here / "in", "--size", 64)
    assert done.code == 0, done.err
    commands = [line.strip() for line in done.err.splitlines() if line.startswith("    segkit ")]
    page = html.unescape((here / "checked/check.html").read_text(encoding="utf-8"))
    assert re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL) == commands
    options = f"--images-dir {here}/in --size 64"
    assert commands == [
        f"segkit check in/t.json {options} --fix suspects && segkit label suspects",
        f"segkit check in/t.json {options} --model runs/latest --out check",
    ]
    typed(commands)


def page_of(folder, body):
    (folder / "own.html").write_text('{% import "parts.html" as parts %}<style>{{ parts.style() }}</style>' + body)
    return page_environment(folder).get_template("own.html")


def picture(colour):
    buffer = io.BytesIO()
    Picture.new("RGB", (60, 40), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def share(pixels, colour):
    return float((np.abs(pixels.astype(int) - colour).max(axis=2) < 30).mean())


def test_choices_hide_and_clicks_enlarge_without_a_script(tmp_path):
    tags = [frozenset({"cut", "torn"}), frozenset({"torn"})]
    chosen = filter_of("kind", "kind", tags, ["torn", "never", "cut"])
    assert chosen.counts == {"torn": 2, "cut": 1}
    assert filter_of("kind", "kind", tags[1:], ["torn", "cut"]) is None, "nothing to choose"
    template = page_of(
        tmp_path,
        "{{ parts.choices([chosen]) }}<div class='items'>{% for each in items %}"
        "<div class='{{ parts.classes([chosen], each) }}'>{{ parts.picture('one', each.data) }}</div>"
        "{% endfor %}</div>",
    )
    items = [{"kind": tag, "data": picture(shade)} for tag, shade in zip(tags, (RED, GREEN), strict=True)]
    plain = template.render(chosen=chosen, items=items)
    cut = plain.replace(" checked>", ">").replace('id="kind-2">', 'id="kind-2" checked>')
    large = plain.replace('type="checkbox"', 'type="checkbox" checked', 1)
    frames = "".join(
        f"<iframe width=300 height=240 srcdoc='{html.escape(text)}'></iframe>" for text in (plain, cut, large)
    )
    (tmp_path / "page.html").write_text(
        f"<style>* {{ margin: 0; border: 0; font-size: 0 }}</style>{frames}".replace("\n", " ")
    )
    pixels, console = render(tmp_path / "page.html", tmp_path / "page.png", 1000, 400)
    assert console == ""
    (red, green), (still_red, no_green), (large_red, under) = (
        (share(pixels[:240, left : left + 300], RED), share(pixels[:240, left : left + 300], GREEN))
        for left in (0, 300, 600)
    )
    assert red == pytest.approx(60 * 40 / 300 / 240, rel=0.25)
    assert green == pytest.approx(red, rel=0.2)
    assert still_red == pytest.approx(red, rel=0.2)
    assert no_green == 0
    assert large_red > 0.8, "as large as the window"
    assert under == 0


def test_the_row_of_nothing_is_grey_in_a_confusion_matrix():
    svg = confusion(["nut", "background"], [[9, 1], [9, 0]], nothing=True)
    data = base64.b64decode("".join(re.search(r"data:image/png;base64,([^\"]+)", svg)[1].split()))
    with Picture.open(io.BytesIO(data)) as opened:
        pixels = np.asarray(opened.convert("RGB").transpose(Picture.Transpose.FLIP_TOP_BOTTOM), int)
    height, width = pixels.shape[:2]
    cells = {pixels[y * height // 4, x * width // 4].tobytes(): (y, x) for y in (1, 3) for x in (1, 3)}
    tones = {place: np.frombuffer(tone, int) for tone, place in cells.items()}
    grey = [tone for tone in tones.values() if tone.min() > 100 and np.ptp(tone) < 12 and tone.max() < 230]
    assert len(grey) == 1, tones
    assert min(tone.sum() for tone in tones.values()) < grey[0].sum() / 1.5, "the diagonal is darker"


def line(step, **losses):
    return {"kind": "step", "step": step, "loss": sum(losses.values()), "losses": losses, "lr": 0.1, "peak": None,
            "rss": 2**30}  # fmt: skip


def test_curves_mark_the_best_step_and_have_a_log_axis_where_it_is_needed(tmp_path, monkeypatch):
    scored = [{"kind": "eval", "step": step, "segm": {"AP": ap, "AP50": ap}, "bbox": {"AP": 1 - ap, "AP50": 0.5}}
              for step, ap in ((2, 0.1), (4, 0.4), (6, 0.4), (8, 0.2))]  # fmt: skip
    assert best_step(scored) == 6, "as best.pt: the last of equal ones"
    assert best_step([{"kind": "eval", "step": 2, "semantic": {"mIoU": -1.0}}]) is None
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (drawn.append(figure), path.touch()))
    for fall in (1.01, 1.9):
        steps = [line(step, mask=fall**-step, box=0.5 * fall**-step) for step in range(1, 9)]
        (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, [*steps, *scored])) + "\n")
        assert draw_curves(tmp_path) is not None
    assert [figure.axes[0].get_yscale() for figure in drawn] == ["linear", "log"]
    low, high = drawn[1].axes[0].get_ylim()
    sums = [1.5 * 1.9**-step for step in range(1, 9)]
    assert low < min(sums) < max(sums) < high < 3 * max(sums), "the axis is as long as the losses need"
    assert low > sums[-1] / 5
    for axes in drawn[0].axes:
        assert any(list(each.get_xdata()) == [6, 6] for each in axes.lines)


def profile(verdict, *, steps=30, **more):
    """A memory report as far as what to do next depends on it."""
    leaks = [{"stored_at": "train.py:7", "fix": "Empty it."}] if verdict == "leak" else []
    peak = {"allocated": 1000, "reserved": 2000}
    return {"verdict": verdict, "steps": steps, "leaks": leaks, "peak": peak, "categories": {}} | more


SCRIPT = {"command": ["train.py", "-b", "my folder"]}
ACTIVATIONS = {"categories": {"activations": 700, "parameters": 200, "kept": 100}}


@pytest.mark.parametrize(
    ("options", "report", "said", "commands"),
    [
        (SCRIPT | {"steps": 20}, profile("leak"), "Change train.py:7 as its fix says.",
         ["segkit memprofile --steps 20 -- train.py -b 'my folder'"]),
        (SCRIPT | {"steps": 9}, profile("inconclusive", steps=9), "Measure more steps",
         ["segkit memprofile --steps 24 -- train.py -b 'my folder'"]),
        (SCRIPT | {"steps": 50, "limit": 2**30}, profile("watch", steps=9), "Let the script make 24 steps or more",
         ["segkit memprofile --limit 1073741824 -- train.py -b 'my folder'"]),
        (SCRIPT, profile("clean", **ACTIVATIONS), "most of the peak is activations (700 B of 1000 B)", []),
        (SCRIPT, profile("clean"), None, []),
        ({}, profile("clean"), "on which GPUs", ["segkit memprofile --fit"]),
        ({"target": ["runs/a b"], "limit": 2**30}, profile("inconclusive", steps=20, peak={"allocated": 2**31}),
         "which options make it fit", ["segkit memprofile 'runs/a b' --limit 1073741824 --steps 40",
                                       "segkit memprofile 'runs/a b' --fit --vram 1073741824"]),
        ({}, profile("leak"), "please report this", ["segkit doctor --report", "segkit memprofile --fit"]),
        ({"explain": "s.pickle"}, profile("snapshot"), "measure the script itself", ["segkit memprofile -- SCRIPT"]),
        ({"explain": "m.json"}, profile("leak", command=["t.py"]), "Change train.py:7",
         ["segkit memprofile -- t.py"]),
    ],
)  # fmt: skip
def test_a_memory_report_says_what_to_do_next(options, report, said, commands):
    steps = next_steps(MemprofileConfig(**options), report)
    assert said is None or any(said in step.why for step in steps)
    found = [step.command for step in steps if step.command is not None]
    assert found == commands
    typed(commands)
    rest = {"model": "m", "growth": [], "series": {"peak": []}, "phases": {}, "counted": "bytes", "leaks": [],
            "top": {"modules": {}, "lines": {}, "steps": []}}  # fmt: skip
    page = html.unescape(memory_page(report | rest | {"next": [step._asdict() for step in steps]}))
    assert re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL) == found
