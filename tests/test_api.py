"""The commands as functions: lazy, typed, silent, and equal to what ``--json`` prints."""

import ast
import inspect
import json
import logging
import multiprocessing
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from conftest import ROOT

import segkit as api
from segkit.review.next_plan import NextPlan

LAZY = ("torch", "torchvision", "numpy", "PIL", "typer", "rich", "matplotlib", "pydantic", "segkit.api")
FUNCTIONS = ("convert", "train", "label_curve", "evaluate", "predict", "export", "prune", "bench", "profile",
             "estimate_memory", "check", "label")  # fmt: skip
PLAN = NextPlan(Path("m.pt"), Path("next"), (), (), {}, 1, 2, ("x.png: is no picture",))
TINY = {"model": "unet", "backbone": "plain", "weights": "none", "size": 64, "steps": 2, "batch": 2, "device": "cpu"}


def python(code, cwd=None):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=cwd)


def test_importing_segkit_loads_nothing_else():
    done = python(
        f"import sys, segkit; early = [name for name in {LAZY} if name in sys.modules];"
        "segkit.ConvertConfig, segkit.TrainConfig, segkit.convert, segkit.train, segkit.SegkitError;"
        f"print(early, [name for name in {LAZY[:-1]} if name in sys.modules], segkit.__version__)"
    )
    assert (done.stdout, done.stderr) == (f"[] [] {api.__version__}\n", "")


def test_every_public_name_is_there_and_typed():
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == api._MODULES
    assert typed.keys() | {"__version__"} == set(api.__all__)
    assert set(FUNCTIONS) < set(api.__all__) <= set(dir(api))
    for name in api.__all__:
        assert getattr(api, name) is not None
    folders = {path.stem for path in (ROOT / "segkit").iterdir()}
    assert not folders & set(api.__all__)  # a module of that name would take its place
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = api.trian


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_and_all_its_parameters_are_explained(name):
    function = getattr(api, name)
    text = inspect.getdoc(function)
    example = text.partition("Example:")[2].partition("``")[2].partition("``")[0]
    assert f"segkit.{name}(" in example
    ast.parse(example)
    for parameter in inspect.signature(function).parameters:
        assert f"\n    {parameter}: " in text, parameter


def test_the_types_of_keyword_options_are_up_to_date():
    code = "import runpy; print(runpy.run_path('docs/make_keywords.py')['render'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    module = (ROOT / "segkit/config/keywords.py").read_text(encoding="utf-8")
    assert ast.dump(ast.parse(done.stdout)) == ast.dump(ast.parse(module)), "run: python docs/make_keywords.py"


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run of two steps, made by the function."""
    return api.train(dataset, out=tmp_path_factory.mktemp("api"), name="r", **TINY)


def test_convert(segkit, here, parts, capfd, monkeypatch):
    summary = api.convert(parts, out="one", val=0.25, map={"box": "part"})
    assert capfd.readouterr() == ("", "")
    outcome = segkit("convert", parts, "--out", "two", "--val", 0.25, "--map", "box=part", "--json")
    assert summary.to_json() == json.loads(outcome.out)
    assert (here / "one/train.json").read_bytes() == (here / "two/train.json").read_bytes()
    files = sorted(parts.glob("*.json"))[:3]
    assert api.convert(files, out=here / "three", val=0).files == 3
    config = api.ConvertConfig(src=str(parts), out=Path("four"), val=0.25)
    assert api.convert(config, dry_run=True).dry_run
    assert not (here / "four").exists()


def test_train(segkit, here, dataset, run, monkeypatch):
    assert isinstance(run, api.TrainingSummary)
    assert (run.steps, run.ended, (run.run / "last.pt").is_file()) == (2, "complete", True)
    configs = []
    monkeypatch.setattr("segkit.training.train.train", lambda config, progress: configs.append(config) or run)
    assert api.train(dataset, out=here, name="r", **TINY) is run
    words = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    outcome = segkit("train", dataset, "--out", here, "--name", "r", *words, "--json")
    assert configs[0] == configs[1]
    assert configs[0].given == configs[1].given
    assert json.loads(outcome.out) == run.to_json()


def test_evaluate(segkit, dataset, run, tmp_path, capfd):
    capfd.readouterr()
    summary = api.evaluate(run.run, data=dataset, out=tmp_path, device="cpu")
    assert capfd.readouterr().out == ""
    outcome = segkit("eval", run.run, "--data", dataset, "--out", tmp_path, "--device", "cpu", "--json")
    assert summary.to_json() == json.loads(outcome.out)
    assert [str(path) for path in summary.files] == [str(tmp_path / "metrics.json")]
    assert summary.metrics.primary()[0] == "mIoU"


def test_predict(segkit, here, parts, run, capfd):
    seen = []
    pictures = sorted(parts.glob("*.png")) or sorted(parts.glob("*.jpg"))
    summary = api.predict(pictures[:2], model=run.run, out="one", device="cpu", on_picture=seen.append)
    assert capfd.readouterr().out == ""
    assert list(summary.records()) == seen
    outcome = segkit("predict", *pictures[:2], "--model", run.run, "--out", "two", "--device", "cpu", "--json")
    assert [json.loads(line) for line in outcome.out.splitlines()] == seen
    assert (summary.pictures, summary.failed) == (2, ())


def test_an_interrupted_prediction_says_how_to_go_on(segkit, here, parts, run):
    pictures = sorted(parts.glob("*.jpg"))[:3]

    def interrupt(record):
        raise KeyboardInterrupt

    with pytest.raises(api.Interrupted) as caught:
        api.predict(pictures, model=run.run, out="o", device="cpu", batch=1, on_picture=interrupt)
    assert caught.value.hint.startswith("go on with: segkit predict --resume")
    again = segkit("predict", *pictures, "--model", run.run, "--out", "o", "--device", "cpu", "--resume")
    assert again.code == 0, again.err
    assert sorted(path.name for path in (here / "o/overlay").iterdir()) == [path.name for path in pictures]


def test_check(segkit, here, dataset, capfd):
    summary = api.check(dataset, out="one", fix=here / "fixes")
    assert capfd.readouterr() == ("", "")
    outcome = segkit("check", dataset, "--out", "two", "--json")
    assert summary.to_json() == json.loads(outcome.out)
    assert [path.name for path in summary.files] == ["check.json", "check.html"]
    assert (here / "one/check.json").read_bytes() == (here / "two/check.json").read_bytes()
    assert summary.fixes == sum(path.suffix == ".json" for path in here.glob("fixes/**/*"))


def test_label_says_what_to_annotate_next_and_opens_no_window_for_a_program(segkit, here, parts, monkeypatch):
    chosen = []
    monkeypatch.setattr("segkit.review.choose_next.plan_next", lambda config, progress: chosen.append(config) or PLAN)
    monkeypatch.setattr("segkit.review.label.open_labelme", lambda *_: 1 / 0)
    summary = api.label(parts, next=3, model="m.pt", list_only=True)
    outcome = segkit("label", parts, "--next", 3, "--model", "m.pt", "--json")
    assert (outcome.code, json.loads(outcome.out)) == (0, summary.to_json())
    assert chosen[0] == chosen[1]
    assert summary.plan is PLAN
    assert summary.to_json()["labelme_exit_code"] is None


@pytest.mark.slow
def test_export(segkit, here, run):
    summary = api.export(run.run, out="model.safetensors", format="safetensors")
    again = segkit("export", run.run, "--out", "model.safetensors", "--format", "safetensors", "--json")
    assert summary.to_json() == json.loads(again.out)


def test_profile_of_a_script(here, capfd):
    (here / "s.py").write_text(
        "import sys, torch\nprint('the script', sys.argv[1])\nm = torch.nn.Linear(4, 4)\n"
        "o = torch.optim.SGD(m.parameters())\nkept = []\n"
        "for _ in range(12):\n    loss = m(torch.ones(2, 4)).sum()\n    loss.backward()\n    o.step()\n"
        "    o.zero_grad()\n"
    )
    summary = api.profile(["s.py", "word"], steps=8)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "the script word\n")
    assert summary.to_json() == json.loads((here / "memprofile/memory.json").read_text())
    assert summary.verdict == summary.document["verdict"]
    assert summary.document["command"] == ["s.py", "word"]


def _convert_in_pool(source):
    return api.convert(source, out="o", workers=2).files


def test_a_process_of_a_pool_converts_alone(here, parts):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_convert_in_pool, (parts,)) == len(list(parts.glob("*.json")))


def test_a_process_without_stdin_has_no_list_of_files(here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    for call in (api.convert, api.predict):
        with pytest.raises(api.InputError):
            call("-")


def test_records_are_found_from_another_folder(here, parts, run, monkeypatch):
    pictures = sorted(parts.glob("*.jpg"))[:1]
    summary = api.predict(pictures, model=run.run, out="o", device="cpu")
    monkeypatch.chdir("/")
    assert [each["file"] for each in summary.records()] == [pictures[0].name]


def test_scores_in_threads_leave_stdout_as_it_was(tmp_path, capsys, monkeypatch):
    """Blocks that overlap: the second ends last, and another thread prints meanwhile."""
    from segkit.quiet import without_stdout, without_warnings

    shown, filters = sys.stdout, list(warnings.filters)
    inside, left = threading.Event(), threading.Event()

    def second():
        with without_stdout(), without_warnings():
            inside.set()
            left.wait(60)
            sys.stdout.write("unheard\n")

    other = threading.Thread(target=second)
    with without_stdout(), without_warnings():
        other.start()
        assert inside.wait(60)
        sys.stdout.write("unheard\n")
    sys.stdout.write("heard\n")
    left.set()
    other.join()
    sys.stdout.write("heard, too\n")
    assert capsys.readouterr().out == "heard\nheard, too\n"
    assert (sys.stdout, list(warnings.filters)) == (shown, filters)
    monkeypatch.setattr(sys, "stdout", None)  # pythonw, a service
    with without_stdout():
        sys.stdout.write("unheard\n")
    assert sys.stdout is None


def test_warnings_go_to_the_logger(here, dataset, run, caplog):
    with caplog.at_level(logging.INFO, "segkit"):
        api.evaluate(run.run, data=dataset, out=here, device="cpu", score=0.7)
    said = [(record.levelname, record.message) for record in caplog.records if record.name == "segkit"]
    assert ("WARNING", "--score has no effect without --details, --report or --compare") in said


@pytest.mark.slow
def test_several_ranks_are_started_and_a_script_without_a_guard_is_told_so(tmp_path, dataset):
    call = f"segkit.train({str(dataset)!r}, out='runs', name='r', ranks=2, **{TINY!r})"
    (tmp_path / "bare.py").write_text(f"import segkit\n{call}\n")
    bare = subprocess.run([sys.executable, "bare.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bare.returncode == 1
    assert 'hint: put the calls of segkit below if __name__ == "__main__":' in bare.stderr
    assert bare.stderr.rstrip().endswith("hint: what it printed before says why")
    (tmp_path / "guarded.py").write_text(f"import segkit\nif __name__ == '__main__':\n    print({call}.steps)\n")
    done = subprocess.run([sys.executable, "guarded.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


@pytest.mark.slow
def test_mypy_knows_the_functions_and_their_options(tmp_path):
    (tmp_path / "typed.py").write_text(
        "import segkit\n"
        "def work() -> float:\n"
        "    made: segkit.ConversionSummary = segkit.convert('a', val=0.2, map={'a': 'b'})\n"
        "    run = segkit.train(made.out, steps=100, vram='6GiB', gpus=[0, 1])\n"
        "    segkit.predict(['a.png'], model=run.run, format='labelme', score=0.5)\n"
        "    score = segkit.evaluate(run.run, details=True).metrics.segm\n"
        "    return score.AP if score is not None else 0.0\n"
        "segkit.train('d', stesp=1)\n"
        "segkit.train('d', steps='many')\n"
        "segkit.train('d', model='yolo')\n"
        "segkit.trian('d')\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), "typed.py"]
    environment = {"MYPYPATH": str(ROOT), "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    wrong = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line]
    assert sorted(set(wrong)) == [8, 9, 10, 11], done.stdout
