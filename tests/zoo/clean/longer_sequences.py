from parts import *

model = nn.GRU(8, 16, batch_first=True)
head = nn.Linear(16, 2)
opt = torch.optim.Adam([*model.parameters(), *head.parameters()])
for step in range(48):
    x = torch.rand(4, 8 + 4 * step, 8)
    opt.zero_grad()
    out, _ = model(x)
    head(out).mean().backward()
    opt.step()
