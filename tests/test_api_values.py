"""Values of options in Python: what is taken, and what is refused in words."""

from dataclasses import replace
from pathlib import Path

import pytest

import segkit as api

WRONG = [
    (lambda: api.train("d", stesp=3), "stesp: there is no such option; is steps meant?"),
    (lambda: api.train("d", stesp=None), "stesp: there is no such option"),
    (lambda: api.train("d", steps="many"), "steps: 'many' is not a whole number"),
    (lambda: api.train("d", steps=1.5), "steps: 1.5 is not a whole number"),
    (lambda: api.train("d", steps=True), "steps: True is not a whole number"),
    (lambda: api.train("d", steps=0), "steps: 0 is less than 1"),
    (lambda: api.train("d", lr=float("nan")), "lr: nan is no number to compute with"),
    (lambda: api.train("d", model="yolo"), "model: 'yolo' is not one of maskrcnn, "),
    (lambda: api.train("d", deterministic="yes"), "deterministic: 'yes' is neither true nor false"),
    (lambda: api.train("d", vram="6 apples"), "vram: '6 apples' is not a size"),
    (lambda: api.train("d", vram=None, batch=[]), "batch: [] is not a whole number"),
    (lambda: api.train(3.5), "dataset: 3.5 is neither a text nor a path"),
    (lambda: api.train("d", label_curve=True), "label_curve: train makes one run"),
    (lambda: api.train("d", compile=True, memory="low"), "--compile and --memory low do not go together"),
    (lambda: api.export("m", bench=True), "bench: export writes a model"),
    (lambda: api.export("m", prune=0.5), "prune: export writes a model"),
    (lambda: api.profile("r", fit=True), "fit: profile measures"),
    (lambda: api.predict("p", categories=["a,b"]), "categories: ('a,b',): a comma in a name ends it"),
    (lambda: api.convert("p", map={"a=b": "c"}), "map: ('a=b', 'c'): = in a name ends it"),
    (lambda: api.convert("p", map={"a": "b,c"}), "map: ('a', 'b,c'): , in a name ends it"),
    (lambda: api.convert("p", map={"a": None}), "map: ('a', None) has no value"),
    (lambda: api.train("d", model="maskrcnn", anchor_sizes=[[8], [16]]), "anchor_sizes: (8,) is not a pair"),
    (lambda: api.convert(), "src: is missing"),
    (lambda: api.convert([b"a"]), "src: b'a' is neither a text nor a path"),
    (lambda: api.convert(["a", None]), "src: None is neither a text nor a path"),
    (lambda: api.convert(""), "src: an empty text names no file or folder"),
    (lambda: api.convert("p", out=""), "out: an empty text names no file or folder"),
    (lambda: api.convert("p", out="a\0b"), "out: 'a\\x00b': no path has the character 0"),
    (lambda: api.predict(), "source: is missing"),
    (lambda: api.label(), "folder: is missing"),
    (lambda: api.check("p", progress=None), "progress: None is no segkit.Progress"),
    (lambda: api.predict("p", progress=None), "progress: None is no segkit.Progress"),
    (lambda: api.predict("p", on_picture=[]), "on_picture: [] is no function"),
    (lambda: api.predict("p", format=None), None),
    (lambda: api.evaluate("r", max_dets=3), "--max-dets 3: auto, or a number from 100"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_options_are_refused_in_words(here, number):
    call, message = WRONG[number]
    with pytest.raises(api.SegkitError) as caught:
        call()
    if message is None:
        assert "format" in caught.value.message
    else:
        assert caught.value.message.startswith(message)
        assert isinstance(caught.value, api.ConfigError)
    assert list(here.iterdir()) == []


def test_options_are_taken_as_on_the_command_line_or_as_values():
    from segkit.api.options import config_of

    typed = config_of(
        api.TrainConfig, Path("d"),
        {"model": "unet", "vram": "6GiB", "time": "2h", "gpus": [0, 1], "class_weights": {"a": 2},
         "micro_batch": "auto"},
    )  # fmt: skip
    assert typed == api.TrainConfig(
        dataset=Path("d"), vram=6 * 2**30, time=7200.0, gpus=(0, 1), class_weights=(("a", 2.0),),
        micro_batch="auto", model="unet",
    )  # fmt: skip
    assert typed.given_options() == {"dataset", "vram", "time", "gpus", "class_weights", "micro_batch", "model"}
    changed = config_of(api.TrainConfig, typed, {"steps": 3})
    assert changed == replace(typed, steps=3)
    assert changed.given_options() == typed.given_options() | {"steps"}
    assert config_of(api.PredictConfig, "p", {"tile": 512, "format": ["roi"]}).tile == "512"


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    from segkit.api.options import config_of

    config = config_of(api.TrainConfig, None, {"steps": np.int64(3), "lr": np.float32(0.5), "vram": np.int64(2**30)})
    assert (config.steps, config.lr, config.vram) == (3, 0.5, 2**30)
    assert (type(config.steps), type(config.lr), type(config.vram)) == (int, float, int)


def test_arrays_sets_and_iterators_are_lists():
    import numpy as np

    from segkit.api.options import config_of

    config = config_of(
        api.TrainConfig, None,
        {"model": "maskrcnn", "anchor_sizes": np.array([8, 16, 32, 64, 128]), "gpus": range(2),
         "deterministic": np.bool_(True), "lr": np.array(0.5), "unlabelled": iter(["b", "a"])},
    )  # fmt: skip
    assert (config.anchor_sizes, config.gpus, config.deterministic, config.lr) == (
        (8, 16, 32, 64, 128), (0, 1), True, 0.5,
    )  # fmt: skip
    assert config.unlabelled == ("b", "a")
    config = config_of(api.EvalConfig, "r", {"areas": np.array([0, 324]), "max_dets": np.int64(200), "iou": {"segm"}})
    assert (config.areas, config.max_dets, config.iou) == ((0.0, 324.0), "200", ("segm",))
    assert config_of(api.PredictConfig, {Path("b"), Path("a")}, {}).source == ["a", "b"]


def test_files_come_from_any_iterable(here, parts):
    files = sorted(parts.glob("*.json"))[:2]
    for number, given in enumerate((iter(files), set(files), dict.fromkeys(map(str, files)).keys())):
        assert api.convert(given, out=f"o{number}").files == 2
    assert api.convert(src=parts, dry_run=True).files == len(list(parts.glob("*.json")))


def test_texts_in_a_record_are_taken_for_paths(here, parts):
    assert api.convert(api.ConvertConfig(src=parts, out="o")).out == Path("o")
    with pytest.raises(api.ConfigError, match="line_width: 'x' is not a number"):
        api.convert(api.ConvertConfig(src=str(parts), line_width="x"))


@pytest.mark.parametrize(
    ("record", "options"),
    [
        (api.ConvertConfig, {"src": "x", "val": "y"}),
        (api.TrainConfig, {"size": "a", "max_size": 9}),
        (api.EvalConfig, {"max_dets": 1.5}),
        (api.PredictConfig, {"source": ["x"], "batch": "many"}),
        (api.ExportConfig, {"prune": "half"}),
        (api.CheckConfig, {"src": "x", "size": 64, "max_size": "y"}),
        (api.LabelConfig, {"folder": None}),
    ],
)
def test_a_record_refuses_what_an_option_does_not_take(record, options):
    with pytest.raises(api.ConfigError) as caught:
        record(**options)
    assert str(caught.value).split(":")[0] in options


def test_a_file_that_the_system_refuses_is_an_error_of_segkit(here, parts):
    (here / "file").touch()
    with pytest.raises(api.SegkitError) as caught:
        api.convert(parts, out="file/below")
    assert "file" in caught.value.message
    with pytest.raises(api.SegkitError, match="File name too long") as caught:
        api.convert("a" * 5000)
    assert "shorter name" in caught.value.hint


@pytest.mark.parametrize("words", [["convert", ""], ["convert", "p", "--out="], ["predict", "p", ""], ["eval", ""]])
def test_an_empty_word_is_no_path_on_the_command_line_either(segkit, here, words):
    outcome = segkit(*words)
    assert (outcome.code, "an empty text names no file or folder" in outcome.err) == (2, True), outcome.err
    assert list(here.iterdir()) == []
