"""MONAI: its SupervisedTrainer with its U-Net."""

import sys

import torch
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointSaver
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from small import out

steps = int(sys.argv[1])
torch.manual_seed(0)
model = UNet(2, 3, 2, channels=(16, 32, 64), strides=(2, 2), num_res_units=2)
data = [
    {"image": torch.rand(3, 96, 96), "label": torch.randint(0, 2, (1, 96, 96)).float()} for _ in range(4 * (steps // 3))
]
kept: list[torch.Tensor] = []
dice = DiceLoss(to_onehot_y=True, softmax=True)


def loss_of(out: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    loss = dice(out, label)
    if "leak" in sys.argv:
        kept.append(loss)
    return loss


trainer = SupervisedTrainer(
    device="cpu", max_epochs=3, train_data_loader=torch.utils.data.DataLoader(data, 4), network=model,
    optimizer=torch.optim.Adam(model.parameters(), 1e-3), loss_function=loss_of,
    train_handlers=[CheckpointSaver(str(out()), {"network": model}, save_final=True)],
)  # fmt: skip
trainer.run()
print("done", trainer.state.iteration)
