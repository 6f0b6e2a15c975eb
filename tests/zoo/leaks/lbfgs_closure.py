# holder: trace
from parts import *

model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
x, y = torch.rand(32, 8), torch.rand(32, 1)
trace = []


def closure():
    opt.zero_grad()
    out = model(x)
    loss = F.mse_loss(out, y)
    loss.backward()
    trace.append(out.detach() - y)  # stored made
    return loss


for _ in range(STEPS):
    opt.step(closure)
