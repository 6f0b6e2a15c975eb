"""YOLOv8n of ultralytics, with its evaluation at the end of every epoch."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from small import out
from ultralytics import YOLO

steps, batch = int(sys.argv[1]), 4
random = np.random.default_rng(0)


def keep(trainer: object) -> None:
    trainer.batch_log = getattr(trainer, "batch_log", [])
    trainer.batch_log.append(trainer.loss)


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for index in range(16):
        Image.fromarray(random.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(folder / f"images/{index}.png")
        (folder / f"labels/{index}.txt").write_text("0 0.5 0.5 0.3 0.4\n")
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [thing]\n")
    model = YOLO("yolov8n.yaml")
    if "leak" in sys.argv:
        model.add_callback("on_train_batch_end", keep)
    model.train(
        data=str(folder / "data.yaml"), epochs=max(1, steps // 4), imgsz=96, batch=batch, workers=0, device="cpu",
        project=str(out()), name="run", exist_ok=True, plots=False, amp=False, optimizer="SGD", nbs=batch,
        verbose=False,
    )  # fmt: skip
print("done", steps)
