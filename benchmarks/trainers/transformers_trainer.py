"""Trainer of transformers, with a small vision transformer."""

import sys

import torch
from small import Flat, out
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

steps = int(sys.argv[1])
kept: list[torch.Tensor] = []


class Data(torch.utils.data.Dataset):
    def __init__(self, length: int) -> None:
        self.flat = Flat(length)

    def __len__(self) -> int:
        return len(self.flat)

    def __getitem__(self, index: int) -> dict[str, object]:
        x, y = self.flat[index]
        return {"pixel_values": x, "labels": y}


class Keeping(Trainer):
    def compute_loss(self, model: object, inputs: object, *others: object, **more: object) -> object:
        loss = super().compute_loss(model, inputs, *others, **more)
        if "leak" in sys.argv:
            kept.append(loss[0] if isinstance(loss, tuple) else loss)
        return loss


config = ViTConfig(
    hidden_size=96, num_hidden_layers=6, num_attention_heads=3, intermediate_size=192, image_size=64, patch_size=8,
    num_labels=5,
)  # fmt: skip
torch.manual_seed(0)
arguments = TrainingArguments(
    str(out()), max_steps=steps, per_device_train_batch_size=8, report_to=[], save_strategy="no", use_cpu=True,
    disable_tqdm=True, logging_steps=20, eval_strategy="steps", eval_steps=steps // 3,
)  # fmt: skip
trainer = Keeping(
    ViTForImageClassification(config), arguments, train_dataset=Data(8 * steps), eval_dataset=Data(32),
    callbacks=[TrainerCallback()],
)  # fmt: skip
trainer.train()
trainer.save_model()
print("done", steps)
