"""Small models and batches for the scripts of the zoo, and a seed from the command line."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SEED = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 0
STEPS = 32
random.seed(SEED)
np.random.seed(SEED)
torch.manual_seed(SEED)


class UNet(nn.Module):
    """Two levels, one skip."""

    def __init__(self, width=6):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.head = nn.Conv2d(2 * width, 2, 1)

    def forward(self, x):
        a = self.down(x)
        b = self.up(self.deep(a))
        return self.head(torch.cat([a, b], 1))


def batches(steps=STEPS, sides=(32,), batch=2):
    for _ in range(steps):
        side = random.choice(sides)
        yield torch.rand(batch, 3, side, side), torch.randint(0, 2, (batch, side, side))


def unet():
    model = UNet()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def maskrcnn():
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    backbone = nn.Sequential(nn.Conv2d(3, 8, 7, 4, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
    backbone.out_channels = 16
    model = MaskRCNN(
        backbone, 3, min_size=64, max_size=96, rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2), mask_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        rpn_batch_size_per_image=32, box_batch_size_per_image=16, rpn_pre_nms_top_n_train=64,
        rpn_post_nms_top_n_train=32, rpn_pre_nms_top_n_test=64, rpn_post_nms_top_n_test=32,
    )  # fmt: skip
    return model, torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def scenes(steps=STEPS, sides=(64,)):
    for _ in range(steps):
        side = random.choice(sides)
        boxes = torch.tensor([[4.0, 4.0, 30.0, 34.0], [20.0, 18.0, 50.0, 60.0]])
        masks = torch.zeros(2, side, side, dtype=torch.uint8)
        masks[0, 4:34, 4:30] = 1
        masks[1, 18:60, 20:50] = 1
        yield [torch.rand(3, side, side)], [{"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}]
