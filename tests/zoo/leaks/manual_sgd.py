# holder: seen
from parts import *

w = torch.rand(16, 16, requires_grad=True)
seen = []
for _ in range(STEPS):
    x = torch.rand(8, 16)
    out = (x @ w).relu()
    loss = out.mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        w.grad = None
    seen.append(out.detach().clone())  # stored made
