from parts import *

net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.Adam(net.parameters())
for _ in range(40):
    x = torch.rand(16, 8, requires_grad=True)
    out = net(x)
    (grad,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    loss = out.mean() + (grad.norm(dim=1) - 1).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
