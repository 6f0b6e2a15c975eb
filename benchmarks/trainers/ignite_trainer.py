"""PyTorch Ignite."""

import sys

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy
from small import images, network, out

steps = int(sys.argv[1])
model, data = network(), images()
kept: list[torch.Tensor] = []


def loss_of(out: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    loss = torch.nn.functional.cross_entropy(out, label)
    if "leak" in sys.argv and model.training:
        kept.append(loss)
    return loss


trainer = create_supervised_trainer(model, torch.optim.AdamW(model.parameters(), 1e-3), loss_of)
evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy()})
trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data[:4]))
trainer.run(data * (steps // 24), max_epochs=3)
torch.save(model.state_dict(), out() / "last.pt")
print("done", trainer.state.iteration)
