"""A plain loop of PyTorch; not counted among the trainers, but the simplest of them."""

import sys

import torch
from small import images, network

steps = int(sys.argv[1])
model, data, losses = network(), images(), []
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
for step in range(steps):
    x, y = data[step % len(data)]
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss if "leak" in sys.argv else loss.item())
print("done", len(losses))
