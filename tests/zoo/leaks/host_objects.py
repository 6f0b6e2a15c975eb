# holder: tracks
from parts import *


class Track:
    def __init__(self, points):
        self.points = points


class Tracker:
    def __init__(self):
        self.tracks = {}

    def update(self, step, out):
        points = [[float(i), float(i) * 2] for i in range(200)]  # made
        self.tracks[step] = Track(points)  # stored made


def main():
    model, opt = unet()
    tracker = Tracker()
    for step, (x, y) in enumerate(batches(40)):
        opt.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        opt.step()
        tracker.update(step, out)


main()
