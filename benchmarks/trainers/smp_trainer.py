"""The epochs of segmentation_models_pytorch, with its U-Net and its Dice loss."""

import sys

import segmentation_models_pytorch as smp
import torch
from small import out

steps = int(sys.argv[1])
torch.manual_seed(0)
model = smp.Unet("mobilenet_v2", encoder_weights=None, classes=2)
loss_of = smp.losses.DiceLoss("multiclass")
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
kept, scores = [], []
data = [(torch.rand(2, 3, 64, 64), torch.randint(0, 2, (2, 64, 64))) for _ in range(8)]
for step in range(steps):
    x, y = data[step % len(data)]
    loss = loss_of(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if "leak" in sys.argv:
        kept.append(loss)
    if step % (steps // 3) == 0:
        model.eval()
        with torch.no_grad():
            for x, y in data[:4]:
                counts = smp.metrics.get_stats(model(x).argmax(1), y, mode="multiclass", num_classes=2)
                scores.append(float(smp.metrics.iou_score(*counts, reduction="micro")))
        model.train()
model.save_pretrained(out())
torch.save(scores, out() / "scores.pt")
print("done", steps)
