"""Engines of TensorRT, as far as can be told without a GPU: its API is a stub that computes with ONNX Runtime."""

import ctypes
import json
import sys
import types

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from random_models import card_of, checkpoint


class Stub(types.ModuleType):
    """The calls of TensorRT 10's Python API that segkit makes; a plan is the ONNX file, and is run as such."""

    def __init__(self):
        super().__init__("tensorrt")
        self.calls, self.fails = [], None
        stub = self

        class Logger:
            ERROR = 1

            def __init__(self, level):
                assert level == self.ERROR

        class BuilderFlag:
            FP16 = "fp16"

        class Profile:
            def set_shape(self, name, *shapes):
                stub.calls.append((name, *shapes))

        class Config:
            def set_flag(self, flag):
                stub.calls.append(flag)

            def add_optimization_profile(self, profile):
                assert isinstance(profile, Profile)

        class Builder:
            def __init__(self, logger):
                assert isinstance(logger, Logger)

            def create_network(self, flags):
                return {}

            create_builder_config = staticmethod(Config)
            create_optimization_profile = staticmethod(Profile)

            def build_serialized_network(self, network, config):
                return None if stub.fails == "build" else memoryview(network["onnx"])

        class OnnxParser:
            num_errors = 1

            def __init__(self, network, logger):
                self.network = network

            def parse(self, content):
                self.network["onnx"] = content
                return stub.fails != "parse"

            def get_error(self, number):
                return f"error {number}"

        class IOutputAllocator:
            pass

        class Runtime:
            def __init__(self, logger):
                pass

            def deserialize_cuda_engine(self, plan):
                return None if stub.fails == "open" else Engine(plan)

        class Engine:
            def __init__(self, plan):
                self.session = ort.InferenceSession(plan, providers=["CPUExecutionProvider"])

            def create_execution_context(self):
                return Context(self.session)

            def get_tensor_dtype(self, name):
                kinds = {each.name: each.type for each in self.session.get_outputs()}
                return {"tensor(float)": np.float32, "tensor(int64)": np.int64}[kinds[name]]

        class Context:
            def __init__(self, session):
                self.session, self.allocators, self.address = session, {}, {}

            def set_input_shape(self, name, shape):
                self.shape = shape
                return True

            def set_tensor_address(self, name, address):
                self.address[name] = address

            def set_output_allocator(self, name, allocator):
                assert isinstance(allocator, IOutputAllocator)
                self.allocators[name] = allocator

            def execute_async_v3(self, stream):
                ((name, address),) = self.address.items()
                count = int(np.prod(self.shape))
                given = np.frombuffer(ctypes.string_at(address, count), np.uint8).reshape(self.shape)
                values = self.session.run(None, {name: given})
                for output, value in zip(self.session.get_outputs(), values, strict=True):
                    allocator = self.allocators[output.name]
                    where = allocator.reallocate_output_async(output.name, 0, value.nbytes, 256, stream)
                    ctypes.memmove(where, value.tobytes(), value.nbytes)
                    allocator.notify_shape(output.name, value.shape)
                return True

        self.Logger, self.Builder, self.BuilderFlag, self.OnnxParser = Logger, Builder, BuilderFlag, OnnxParser
        self.Runtime, self.IOutputAllocator, self.nptype = Runtime, IOutputAllocator, lambda kind: kind


@pytest.fixture
def tensorrt(monkeypatch):
    stub = Stub()
    monkeypatch.setitem(sys.modules, "tensorrt", stub)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("segkit.runtimes.tensorrt_model._gpu", lambda name: torch.device("cpu"))
    stream = types.SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    return stub


@pytest.mark.parametrize("name", ["unet", pytest.param("maskrcnn", marks=pytest.mark.slow)])
def test_an_engine_is_built_run_compared_and_predicts(segkit, here, tensorrt, name):
    source = checkpoint(here / "m.pt", card_of(name))
    outcome = segkit("export", source, "--format", "tensorrt", "--half", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["out"] == str(here / "model.engine")
    assert sorted(path.name for path in here.iterdir()) == ["m.pt", "model.engine"]
    (flag, (given, least, best, most)) = tensorrt.calls
    assert (flag, given) == ("fp16", "images")
    assert least == (1, 3, 1, 1)
    assert best[:2] == (1, 3)
    assert most == (4, 3, 1333, 1333)
    noise = np.random.default_rng(1).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(here / "a.png")
    outcome = segkit("predict", "a.png", "--model", "model.engine", "--device", "cpu")
    assert outcome.code == 1
    assert "model.engine: an engine of TensorRT may hold code" in outcome.err
    found = []
    for model, more in ((source, []), (here / "model.engine", ["--trust"])):
        out = here / f"of-{model.name}"
        options = ("--score", 0.05, "--device", "cpu", "--out", out, *more)
        assert segkit("predict", "a.png", "--model", model, *options).code == 0
        found.append([each["score"] for each in json.loads((out / "results.json").read_text())])
    assert np.allclose(*found, atol=1e-3)
    tensorrt.fails = "open"
    outcome = segkit("predict", "a.png", "--model", "model.engine", "--trust", "--device", "cpu", "--out", "o")
    assert "model.engine: was built for another GPU or version of TensorRT, or is damaged" in outcome.err


@pytest.mark.parametrize(("fails", "why"), [("parse", "cannot read the graph: error 0"), ("build", "built no engine")])
def test_an_engine_that_cannot_be_built_leaves_nothing(segkit, here, tensorrt, fails, why):
    tensorrt.fails = fails
    outcome = segkit("export", checkpoint(here / "m.pt", card_of("unet")), "--format", "tensorrt")
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: --format tensorrt: TensorRT {why}")
    assert [path.name for path in here.iterdir()] == ["m.pt"]


@pytest.mark.parametrize("content", [b"", b"ptrt" * 99])
def test_what_is_no_engine_is_refused(segkit, here, content):
    (here / "m.engine").write_bytes(content)
    Image.new("RGB", (9, 9)).save(here / "a.png")
    outcome = segkit("predict", "a.png", "--model", "m.engine", "--trust")
    assert outcome.code == 1
    assert "m.engine: not an engine that segkit exported, or a damaged one" in outcome.err


def test_tensorrt_is_refused_where_it_is_absent_and_where_there_is_no_gpu(segkit, here, monkeypatch):
    source = checkpoint(here / "m.pt", card_of("unet"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    outcome = segkit("export", source, "--format", "tensorrt")
    assert outcome.code == 1
    assert outcome.err.startswith("error: --format tensorrt: the package tensorrt is not installed")
    assert 'hint: pip install "segkit[tensorrt]" on the machine that will run the engine' in outcome.err
    assert "trtexec --onnx=model.onnx" in outcome.err
    monkeypatch.setitem(sys.modules, "tensorrt", Stub())
    outcome = segkit("export", source, "--format", "tensorrt")
    assert "an engine is built on the GPU that will run it, and no CUDA device is here" in outcome.err
    assert [path.name for path in here.iterdir()] == ["m.pt"]
