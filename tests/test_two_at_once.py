"""Two commands that write to one folder at the same time: one is refused, and what the other writes is whole."""

import os

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no locks of this kind")


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_of_two_conversions_into_one_folder_the_second_is_refused(segkit, parts, here, force):
    from segkit.config.convert import ConvertConfig
    from segkit.conversion.convert import convert
    from segkit.progress import Progress

    outcomes = []

    class Second(Progress):
        def start(self, description, total):
            if not outcomes:
                outcomes.append(segkit("convert", parts, "--out", "d", *force))

    convert(ConvertConfig(src=str(parts), out=here / "d"), Second())
    assert outcomes[0].code == 1
    assert "d: another segkit is writing there" in outcomes[0].err
    assert "hint: wait for its end, or choose another --out" in outcomes[0].err
    assert sorted(path.name for path in here.iterdir()) == ["d"]
    again = segkit("convert", parts, "--out", "d", *force)
    assert again.code == (0 if force else 1)


def test_what_a_killed_conversion_left_the_next_one_removes(segkit, parts, here):
    left = here / ".d.writing/.work"
    left.mkdir(parents=True)
    (left / "instances").write_bytes(b"half")
    (here / ".d.lock").touch()
    assert segkit("convert", parts, "--out", "d").code == 0
    assert sorted(path.name for path in here.iterdir()) == ["d"]
    assert not (here / "d/.work").exists()


def test_a_run_that_is_trained_is_not_resumed_by_another_process(dataset, tmp_path):
    from training import config

    from segkit.config.train import TrainConfig
    from segkit.errors import InputError
    from segkit.progress import Progress
    from segkit.training.train import train

    run = train(config(dataset, tmp_path, model="unet", steps=1)).run
    refused = []

    class Second(Progress):
        def start(self, description, total):
            if not refused:
                with pytest.raises(InputError, match="another segkit is writing there") as raised:
                    train(TrainConfig(resume=str(run), steps=3))
                refused.append(raised.value.hint)

    (run / ".best.pt.writing").write_bytes(b"half")
    assert train(TrainConfig(resume=str(run), steps=2), Second()).steps == 2
    assert refused == ["wait for its end, or end it"]
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_of_two_predictions_into_one_folder_the_second_is_refused(segkit, dataset, parts, here):
    from training import config

    from segkit.config.predict import PredictConfig
    from segkit.inference.predict import predict
    from segkit.training.train import train

    run = train(config(dataset, here, model="unet", steps=1)).run
    outcomes = []

    def second(record):
        if not outcomes:
            outcomes.append(segkit("predict", parts, "--model", run, "--out", "p", "--resume", "--device", "cpu"))

    predict(PredictConfig(source=(str(parts),), model=run, out=here / "p", device="cpu"), on_picture=second)
    assert outcomes[0].code == 1
    assert "p: another segkit is writing there" in outcomes[0].err
    assert [path.name for path in (here / "p").iterdir() if path.name.startswith(".")] == []


def test_temporary_folders_of_killed_processes_are_removed_and_those_in_use_are_not(segkit, parts, here, monkeypatch):
    import tempfile

    from segkit.data.locks import temporary_directory

    monkeypatch.setattr(tempfile, "tempdir", str(here))
    for name in ("segkit-dry-run-killed", "segkit-dry-run-new"):
        (here / name).mkdir()
    with temporary_directory("segkit-dry-run-") as used:
        for folder in (here / "segkit-dry-run-killed", used):
            os.utime(folder, (0, 0))
        assert segkit("convert", parts, "--out", "d", "--to", "yolo", "--dry-run").code == 0
        assert sorted(path.name for path in here.iterdir()) == sorted(["segkit-dry-run-new", used.name])
