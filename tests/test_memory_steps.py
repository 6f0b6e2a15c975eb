"""What ends a step in scripts of every kind, and the input of a step."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from segkit.memory.session import Session

MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3))
PICTURES = torch.rand(2, 3, 16, 16)


def by_optimizer():
    optimizer = torch.optim.SGD(MODEL.parameters(), lr=0.1)
    MODEL(PICTURES).mean().backward()
    optimizer.step()


def by_two_optimizers():
    often, seldom = torch.optim.SGD(MODEL.parameters(), lr=0.1), torch.optim.SGD(MODEL.parameters(), lr=0.1)

    def step(count=iter(range(10**6))):
        MODEL(PICTURES).mean().backward()
        often.step()
        if next(count) % 3 == 2:
            seldom.step()

    return step


def by_closure():
    optimizer = torch.optim.LBFGS(MODEL.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = MODEL(PICTURES).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)


def by_backward():
    MODEL(PICTURES).mean().backward()


def by_grad():
    torch.autograd.grad(nn.functional.mse_loss(MODEL(PICTURES), torch.zeros(2, 1, 12, 12)), list(MODEL.parameters()))


def by_forward():
    with torch.no_grad():
        nn.MSELoss()(MODEL(PICTURES), torch.zeros(2, 1, 12, 12))  # a loss is a module, too, and no step


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (by_optimizer, "optimizer"), (by_two_optimizers(), "optimizer"), (by_closure, "optimizer"),
        (by_backward, "backward"), (by_grad, "grad"), (by_forward, "forward"),
    ],
    ids=["optimizer", "two optimizers", "closure", "backward", "grad", "forward"],
)  # fmt: skip
def test_a_step_is_the_repeated_part_of_a_script(step, kind):
    session = Session()
    session.start()
    try:
        for _ in range(12):
            step()
    finally:
        session.finish()
    assert session.failures == []
    assert session.hooks.kind == kind
    # What came before the better mark was seen for the first time, was no step of its kind.
    assert session.series.count in (11, 12)
    assert min(step.peak for step in session.series.measurements) > 0


def test_batches_are_steps_if_there_is_nothing_else():
    session = Session()
    session.start()
    try:
        for (batch,) in DataLoader(TensorDataset(torch.rand(30, 4)), batch_size=3):
            batch.mean()
    finally:
        session.finish()
    assert (session.hooks.kind, session.series.count) == ("batch", 10)
    assert session.hooks.datasets == {30}


def test_images_have_names_if_targets_contain_them():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images, targets):
            return {"loss": sum(image.mean() for image in images) * self.weight}

    model = Detector()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = Session()
    session.start()
    try:
        for number in range(8):
            target = {"boxes": torch.rand(3 + number, 4), "image_id": torch.tensor([412 + number])}
            model([torch.rand(3, 8, 8)], [target])["loss"].backward()
            optimizer.step()
    finally:
        session.finish()
    assert [sample.name for sample in session.series.measurements] == [
        f"image_id {412 + number}" for number in range(8)
    ]
    assert [sample.instances for sample in session.series.measurements] == [3 + number for number in range(8)]
