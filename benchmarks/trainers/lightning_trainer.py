"""Lightning."""

import logging
import sys

import lightning
import torch
from small import Flat, network, out

steps = int(sys.argv[1])
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.kept = network(), []

    def training_step(self, batch: object, index: int) -> torch.Tensor:
        x, y = batch
        loss = torch.nn.functional.cross_entropy(self.network(x), y)
        self.log("loss", loss)
        if "leak" in sys.argv:
            self.kept.append(loss)
        return loss

    def validation_step(self, batch: object, index: int) -> None:
        x, y = batch
        self.log("val", torch.nn.functional.cross_entropy(self.network(x), y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-3)


per_epoch = steps // 3
trainer = lightning.Trainer(
    accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
)  # fmt: skip
loader = torch.utils.data.DataLoader(Flat(8 * per_epoch), 8)
trainer.fit(Module(), loader, torch.utils.data.DataLoader(Flat(32), 8))
trainer.save_checkpoint(out() / "last.ckpt")
print("done", trainer.global_step)
