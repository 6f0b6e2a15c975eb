from parts import *

rnn, head = nn.LSTMCell(8, 8), nn.Linear(8, 1)
opt = torch.optim.Adam([*rnn.parameters(), *head.parameters()])
state = None
for _ in range(40):
    opt.zero_grad()
    loss = 0
    for _ in range(4):
        state = rnn(torch.rand(4, 8), state)
        loss = loss + head(state[0]).mean()
    loss.backward()
    opt.step()
    state = tuple(part.detach() for part in state)
