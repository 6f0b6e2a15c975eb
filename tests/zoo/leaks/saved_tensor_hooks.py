# holder: packed
from parts import *

packed = []


def pack(tensor):
    packed.append(tensor)  # stored
    return len(packed) - 1


def unpack(index):
    return packed[index]


model, opt = unet()
for x, y in batches(40):
    opt.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
