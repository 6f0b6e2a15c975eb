"""Learning rates, and the moving average of weights."""

import pytest
import torch
from torch import nn

from segkit.training.optim import Average, learning_rate


@pytest.mark.parametrize("schedule", ["step", "cosine", "poly", "onecycle", "constant"])
def test_learning_rates_rise_in_the_warm_up_and_never_exceed_the_peak(schedule):
    rates = [learning_rate(schedule, 0.1, step / 100, step, 10) for step in range(100)]
    assert rates[0] < rates[9]
    assert max(rates) <= 0.1
    assert schedule == "constant" or rates[-1] < 0.02
    assert min(rates) > 0


def test_the_warm_up_is_five_percent_of_the_run_for_every_kind_of_limit():
    by_time = [learning_rate("constant", 1.0, step / 400, step, None) for step in range(400)]
    assert by_time[10] == pytest.approx(0.5)
    assert by_time[0] > 0
    assert min(by_time[20:]) == 1.0
    long = [learning_rate("constant", 1.0, step / 10**6, step, None) for step in range(1200)]
    assert long[999] < 1.0 == long[1000]


def test_the_moving_average_follows_the_weights():
    layer = nn.Linear(2, 2)
    average = Average(layer, 0.9)
    start = layer.weight.detach().clone()
    for _ in range(5):
        with torch.no_grad():
            layer.weight.add_(1.0)
        average.update(layer)
    moved = (average.state["weight"] - start).mean()
    assert 1.0 < moved < 5.0
    assert Average(layer, 0.0).state_of(layer)["weight"].data_ptr() == layer.weight.data_ptr()
