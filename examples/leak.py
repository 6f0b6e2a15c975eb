"""A training that leaks, as many do: it keeps the loss of each step, and with it the whole graph of that step.

    segkit memprofile --steps 40 -- examples/leak.py

names the line below that says LEAK, and the fix.
"""

import torch


def main() -> None:
    """Train a small network on random numbers."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for step in range(60):
        inputs = torch.randn(512, 64)
        loss = model(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss)  # LEAK: loss.item() is the number alone
        if step % 20 == 0:
            print(f"step {step}: {sum(losses) / len(losses):.4f}")


if __name__ == "__main__":
    main()
