"""Files of weights: what is read of them, and what is refused."""

import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from made_weights import card, loaded, saved

from segkit.errors import InputError
from segkit.models.weight_files import read_weight_file


def test_safetensors_are_read(tmp_path, resnet18):
    header, values = {"__metadata__": {"format": "pt"}}, b""
    for name, value in resnet18.items():
        raw = value.numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[value.dtype]
        header[name] = {
            "dtype": kind, "shape": list(value.shape), "data_offsets": [len(values), len(values) + len(raw)]
        }  # fmt: skip
        values += raw
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values)
    found = read_weight_file(tmp_path / "w.safetensors", check=True)
    assert all(torch.equal(found.body[name], value) for name, value in resnet18.items())
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values[:-1000])
    with pytest.raises(InputError, match="not a file of weights that can be read safely"):
        read_weight_file(tmp_path / "w.safetensors")


class Runs:
    """Pickled, it would write a file when it is read."""

    def __reduce__(self):
        return open, ("ran", "w")


def bad_file(path, kind, state):
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "noise":
            path.write_bytes(bytes(range(256)) * 9)
        case "pickle":
            path.write_bytes(pickle.dumps({"model": Runs()}))
        case "object":
            torch.save(Runs(), path)
        case "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.txt", "a")
        case "cut off":
            torch.save(state, path)
            path.write_bytes(path.read_bytes()[:9999])
        case "folder":
            path.mkdir()
        case "list":
            torch.save([torch.ones(3)], path)
        case "in itself":
            content = {"state_dict": {"epoch": 3}}
            content["model"] = content["state_dict"]["model"] = content
            torch.save(content, path)
        case "in itself, with a tensor":
            content = {"epoch": torch.ones(1)}
            content["model"] = content
            torch.save(content, path)
        case "pipe":
            os.mkfifo(path)
        case "sparse":
            torch.save(state | {"conv1.weight": state["conv1.weight"].to_sparse()}, path)
        case "without values":
            torch.save({name: value.to("meta") for name, value in state.items()}, path)
        case "complex":
            torch.save({name: value.to(torch.complex64) for name, value in state.items()}, path)
        case "half":
            torch.save({name: value for name, value in state.items() if "layer4" not in name}, path)
        case "not finite":
            torch.save(state | {"fc.bias": torch.full((1000,), float("nan"))}, path)


BAD_FILES = (
    "empty", "noise", "pickle", "object", "zip", "cut off", "folder", "list", "in itself", "in itself, with a tensor",
    "pipe", "sparse", "without values", "complex", "half", "not finite",
)  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_holds_no_weights_is_refused_in_one_line(here, dataset, segkit, resnet18, kind):
    bad_file(here / "w.pth", kind, resnet18)
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", "w.pth", "--device", "cpu", "--steps", 1, "--size", 64
    )
    assert outcome.code == 1
    assert "error: w.pth: " in outcome.err
    assert "Traceback" not in outcome.err
    assert not (here / "ran").exists()
    assert not (here / "runs").exists()


def test_tensors_in_a_type_for_storage_are_read(tmp_path, resnet18):
    small = {name: v.to(torch.float8_e4m3fn) if v.ndim == 4 else v for name, v in resnet18.items()}
    torch.save(small, tmp_path / "w.pth")
    found = read_weight_file(tmp_path / "w.pth", check=True)
    assert found.backbone == "resnet18"
    assert torch.allclose(found.body["conv1.weight"], resnet18["conv1.weight"], atol=0.02)


def test_a_number_in_the_place_of_a_head_is_not_loaded(tmp_path):
    made, name = card("a", "b"), "roi_heads.box_predictor.cls_score.weight"
    state = saved(tmp_path / "w.pt", made)
    torch.save({"card": made.to_plain(), "model": state | {name: torch.tensor(1.0)}}, tmp_path / "w.pt")
    before, after, found = loaded(made, tmp_path / "w.pt")
    assert "roi_heads.box_predictor start at random" in found.text
    assert torch.equal(after[name], before[name])
