"""Steps of PyTorch's own optimisers, of which only the first ones are followed: what is measured stays the same."""

import pytest
import torch
from torch import nn

from segkit.memory.measure import optimizer_steps
from segkit.memory.session import Session


class Growing(torch.optim.SGD):
    """An optimiser of the user's that keeps something of every step."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.history = []

    def step(self, closure=None):
        super().step(closure)
        self.history.append(torch.ones(3000))


def train(make, steps=14, late=None):
    """Some steps of a small model under a session; ``late``: the step from which on its last layer learns, too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 8))
    x, session = torch.rand(4, 64), Session()
    if late is not None:
        model[3].requires_grad_(False)
    optimizer = make(model.parameters())
    session.start()
    try:
        for step in range(steps):
            if step == late:
                model[3].requires_grad_(True)
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        measured = [(each.allocated, each.peak) for each in session.series.measurements]
        steps_seen = [each.phases["step"].allocated for each in session.series.measurements]
    finally:
        session.finish()
    assert session.failures == []
    return session, measured, steps_seen, [each.detach().clone() for each in model.parameters()]


MAKES = {
    "adamw": torch.optim.AdamW,
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9),
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("late", [None, 10])
@pytest.mark.parametrize("name", MAKES)
def test_peaks_and_what_is_alive_are_as_when_every_step_is_followed(monkeypatch, name, late):
    session, *some = train(MAKES[name], late=late)
    assert session.hooks.optimizer_steps.aside >= 3
    monkeypatch.setattr(optimizer_steps, "_FOLLOWED", 1000)
    session, *every = train(MAKES[name], late=late)
    assert session.hooks.optimizer_steps.aside == 0
    assert some[0][-1] == every[0][-1]
    assert [each for each, _ in some[0]] == [each for each, _ in every[0]]
    differing = sum(one != other for one, other in zip(some[1], every[1], strict=True))
    assert differing <= (late is not None)  # the step in which the state grows
    assert all(torch.equal(one, other) for one, other in zip(some[2], every[2], strict=True))


@pytest.mark.parametrize(
    "make",
    [
        Growing,
        lambda parameters: torch.optim.LBFGS(parameters),
        lambda parameters: with_hook(torch.optim.SGD(parameters, 0.1)),
    ],
    ids=["own class", "LBFGS", "own hook"],
)
def test_steps_in_which_something_else_may_run_are_followed(make):
    def closure_of(parameters):
        optimizer = make(parameters)
        if isinstance(optimizer, torch.optim.LBFGS):
            step = optimizer.step
            optimizer.step = lambda: step(lambda: torch.zeros((), requires_grad=True) * 1)
        return optimizer

    session, *_ = train(closure_of)
    assert session.hooks.optimizer_steps.aside == 0


def with_hook(optimizer):
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


def test_after_a_step_that_fails_operations_are_followed_again():
    parameter, session = nn.Parameter(torch.zeros(5000)), Session()
    optimizer = torch.optim.SGD([parameter], 0.1)
    session.start()
    try:
        for _ in range(9):
            parameter.grad = torch.ones(5000)
            optimizer.step()
        assert session.hooks.optimizer_steps.aside > 0
        optimizer.param_groups[0]["lr"] = "none"
        with pytest.raises((TypeError, ValueError)):
            optimizer.step()
        (parameter * 2).sum().backward()
        before = session.tensors.allocated
        kept = torch.ones(1000)
        assert session.tensors.allocated == before + kept.untyped_storage().nbytes()
    finally:
        session.finish()
