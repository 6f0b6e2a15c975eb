# holder: hidden
from parts import *

rnn = nn.RNNCell(8, 8)
head = nn.Linear(8, 1)
opt = torch.optim.SGD([*rnn.parameters(), *head.parameters()], lr=0.0)
hidden = torch.zeros(4, 8)
for _ in range(STEPS):
    opt.zero_grad()
    hidden = rnn(torch.rand(4, 8), hidden)  # stored made
    loss = head(hidden.detach()).mean()
    loss.backward()
    opt.step()
