from parts import *

model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3, history_size=20)
x, y = torch.rand(32, 8), torch.rand(32, 1)


def closure():
    opt.zero_grad()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    return loss


for _ in range(40):
    opt.step(closure)
