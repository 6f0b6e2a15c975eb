# holder: head
from parts import *


class Node:
    def __init__(self, value, before):
        self.value, self.before = value, before


def main():
    head = None
    model, opt = unet()
    for x, y in batches(48):
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        head = Node(out.detach(), head)  # stored
    return head


main()
