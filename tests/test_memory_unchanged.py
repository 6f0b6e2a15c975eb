"""A script computes and saves under a profile what it does without one: tracers, exporters, compiled code."""

import io
import re
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from segkit.memory.measure.tracers import Tracers
from segkit.memory.measure.user_code import UserCode
from segkit.memory.report.document import report_of
from segkit.memory.session import Session

PICTURES = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()


class Watched:
    """A session around some code."""

    def __enter__(self):
        self.session = Session()
        self.session.start()
        return self.session

    def __exit__(self, *error):
        self.session.finish()


def train(network, steps=30, after=lambda out: None):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        out = network(torch.rand(4, 3, 8, 8))
        out.square().mean().backward()
        optimizer.step()
        after(out)


def without_counters(text):
    """Without the numbers by which TorchScript distinguishes classes of one name in a process."""
    return re.sub(r"___torch_mangle_\d+\.", "", str(text))


def traced(network):
    return lambda: without_counters(torch.jit.trace(network, PICTURES[0]).inlined_graph)


def traced_outputs(network):
    network.train()
    return lambda: [torch.jit.trace(network, PICTURES[0])(each).tolist() for each in PICTURES]


def onnx_by_tracing(network):
    def export():
        file = io.BytesIO()
        torch.onnx.export(network, (PICTURES[0],), file, dynamo=False)
        return file.getvalue()

    return export


def exported(network):
    return lambda: str(torch.export.export(network, (PICTURES[0],)).graph)


def graph_of_tensorboard(network):
    def graph():
        from torch.utils.tensorboard import _pytorch_graph

        return without_counters(_pytorch_graph.graph(network, PICTURES[0])[0])

    return graph


def scripted_gradient(network):
    def gradient(x: torch.Tensor) -> torch.Tensor:
        (out,) = torch.autograd.grad([x.square().sum()], [x])
        assert out is not None
        return out

    return lambda: torch.jit.script(gradient)(torch.ones(2, requires_grad=True)).tolist()


def conditional(network):
    return lambda: torch.cond(torch.tensor(True), lambda x: x + 1, lambda x: x - 1, (torch.ones(2),)).tolist()


@pytest.mark.parametrize(
    "of", [traced, traced_outputs, onnx_by_tracing, exported, graph_of_tensorboard, scripted_gradient, conditional],
    ids=lambda of: of.__name__,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_is_traced_or_exported_is_the_same(of):
    artefact = of(model())
    bare = artefact()
    with Watched() as session:
        train(model(), steps=3)
        assert artefact() == bare
        before = len(session.tensors.live)
        kept = torch.rand(1000)
        assert len(session.tensors.live) == before + 1, kept
    assert session.failures == []


def test_the_capture_of_a_graph_is_left_alone():
    class Graph:
        def capture_begin(self):
            seen.append(session.tensors.is_aside)

        def capture_end(self):
            seen.append(session.tensors.is_aside)

    seen = []
    with Watched() as session:
        tracers = Tracers(session.tensors)
        tracers._watch_captures(Graph)
        Graph().capture_begin()
        torch.rand(10)
        Graph().capture_end()
        assert not session.tensors.is_aside
    tracers.uninstall()
    assert seen == [True, True]


@pytest.mark.parametrize("backend", [pytest.param("eager", marks=pytest.mark.slow), "aot_eager"])
def test_compiled_code_stays_compiled_and_its_outputs_are_counted(backend):
    calls, kept = [], []

    def counted(graph, inputs):
        calls.append(len(graph.graph.nodes))
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    with warnings.catch_warnings(record=True) as said, Watched() as session:
        warnings.simplefilter("always")
        torch.compiler.reset()
        network = torch.compile(model(), backend=counted)
        train(network, after=kept.append)
        document = report_of(session)
    assert len(calls) == 1
    assert not [each for each in said if "global hooks" in str(each.message)]
    assert dict(torch._dynamo.utils.counters["graph_break"]) == {}
    assert document["steps"] == 30
    assert document["model"] == "Sequential"
    assert document["unseen"]
    (leak,) = document["leaks"]
    assert leak["holder"] == "kept"
    assert document["problems"] == []


@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")  # on Python 3.13.0
def test_hooks_of_the_script_are_still_warned_of():
    handle = nn.modules.module.register_module_forward_hook(lambda *args: None)
    try:
        with Watched():
            torch.compiler.reset()
            with pytest.warns(UserWarning, match="global hooks"):
                torch.compile(model(), backend="eager")(PICTURES[0])
    finally:
        handle.remove()


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.rand(30, 8)

    def __len__(self):
        raise NotImplementedError("a stream has no length")


def test_a_dataset_without_a_length_does_not_stop_the_measuring():
    network, kept = nn.Linear(8, 1), []
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    with Watched() as session:
        for x in DataLoader(Stream(), 1):
            out = network(x)
            out.sum().backward()
            optimizer.step()
            kept.append(out)
        document = report_of(session)
    assert document["steps"] == 30
    assert document["verdict"] == "leak"
    assert document["problems"] == []


def test_a_failing_probe_is_reported_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr("segkit.memory.measure.step_hooks.input_of", lambda *args: 1 / 0)
    with Watched() as session:
        train(model(), steps=8)
    assert session.series.count == 8
    assert ["ZeroDivisionError" in each for each in session.failures] == [True]


def test_a_failure_after_the_last_step_is_reported(monkeypatch):
    with Watched() as session:
        train(model(), steps=2)
        monkeypatch.setattr("segkit.memory.measure.step_hooks.attach_token", lambda node: 1 / 0)
        model()(PICTURES[0]).sum().backward()
    assert len(session.failures) == 1


def test_the_command_of_an_installed_package_is_the_users_code(tmp_path, monkeypatch):
    (tmp_path / "mytrain").write_text("import sys\nfrom mytrainer.cli import main\nsys.exit(main())\n")
    package = type(torch)("mytrainer")
    package.__file__ = str(tmp_path / "lib/python3/site-packages/mytrainer/__init__.py")
    package.__path__ = [str(tmp_path / "lib/python3/site-packages/mytrainer")]
    main = type(torch)("__main__")
    main.__file__ = str(tmp_path / "mytrain")
    monkeypatch.setitem(sys.modules, "mytrainer", package)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    code = UserCode()
    code.start()
    assert code.owns(str(tmp_path / "lib/python3/site-packages/mytrainer/core.py"))
    assert not code.owns(str(tmp_path / "lib/python3/site-packages/other/core.py"))
