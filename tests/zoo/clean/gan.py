from parts import *

gen = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
disc = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1))
opt_g = torch.optim.Adam(gen.parameters(), 1e-4)
opt_d = torch.optim.Adam(disc.parameters(), 1e-4)
fixed = torch.randn(4, 8)
for _ in range(40):
    fake = gen(torch.randn(16, 8))
    opt_d.zero_grad()
    (disc(fake.detach()).mean() - disc(torch.rand(16, 64)).mean()).backward()
    opt_d.step()
    opt_g.zero_grad()
    (-disc(fake).mean()).backward()
    opt_g.step()
    with torch.no_grad():
        sample = gen(fixed)
