# holder: fakes
from parts import *


def train():
    gen = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
    disc = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1))
    opt_g = torch.optim.Adam(gen.parameters(), 1e-4)
    opt_d = torch.optim.Adam(disc.parameters(), 1e-4)
    fakes = []
    for _ in range(STEPS):
        fake = gen(torch.randn(16, 8))  # made
        loss_d = disc(fake.detach()).mean() - disc(torch.rand(16, 64)).mean()
        opt_d.zero_grad()
        loss_d.backward()
        opt_d.step()
        loss_g = -disc(fake).mean()
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        fakes.append(fake)  # stored


train()
