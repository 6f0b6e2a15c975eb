import copy

from parts import *

q = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8))
k = copy.deepcopy(q)
opt = torch.optim.SGD(q.parameters(), 0.1)
bank = F.normalize(torch.randn(64, 8))
ptr = 0
feats = None
for i in range(50):
    x = torch.randn(8, 16)
    zq = F.normalize(q(x))
    with torch.no_grad():
        for a, b in zip(k.parameters(), q.parameters()):
            a.data = a.data * 0.9 + b.data * 0.1
        zk = F.normalize(k(x))
    loss = F.cross_entropy(
        torch.cat([(zq * zk).sum(1, keepdim=True), zq @ bank.T], 1), torch.zeros(8, dtype=torch.long)
    )
    opt.zero_grad()
    loss.backward()
    opt.step()
    bank[ptr : ptr + 8] = zk
    ptr = (ptr + 8) % 64
    bank = torch.cat([bank[8:], zk])
