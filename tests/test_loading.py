"""From files to batches: the order of images, their pixels and their targets."""

import io
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from segkit.data.geometry import Framing
from segkit.data.pixels import load_rgb
from segkit.data.resize import shrunk
from segkit.errors import InputError
from segkit.formats.dataset_folder import open_split
from segkit.loading.augment import paste
from segkit.loading.dataset import Pictures
from segkit.loading.decode import decode_rgb, resize_rgb
from segkit.loading.sampler import Key, TrainingOrder, repeats_for_balance
from segkit.models.mask_targets import mask_targets
from segkit.models.tensors import BoxMask, box_masks_to_target


def whole(target, height, width):
    """The box masks of a target as masks of the whole image."""
    masks, at = torch.zeros(len(target["boxes"]), height, width, dtype=torch.uint8), 0
    for mask, (x1, y1, x2, y2) in zip(masks, target["boxes"].long().tolist(), strict=True):
        size = (y2 - y1) * (x2 - x1)
        mask[y1:y2, x1:x2] = target["box_masks"][at : at + size].view(y2 - y1, x2 - x1)
        at += size
    return masks


@given(
    groups=st.lists(st.integers(0, 1), min_size=1, max_size=30),
    batch=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_an_epoch_has_every_image_once_and_batches_have_one_orientation(groups, batch, seed):
    order = TrainingOrder(np.array(groups), batch, seed)
    steps = [order.keys_of(step) for step in range(3 * len(groups) // batch + 1)]
    seen = Counter(key for keys in steps for key in keys)
    assert all(count == 1 for count in seen.values())
    done = len(steps) * batch // len(groups)
    assert all(Key(epoch, image) in seen for epoch in range(done) for image in range(len(groups)))
    mixed = sum(len({groups[key.image] for key in keys}) > 1 for keys in steps)
    # two kinds leave at most two rests an epoch, which share at most four batches with others
    assert mixed <= 4 * (done + 1)
    again = TrainingOrder(np.array(groups), batch, seed)
    assert again.keys_of(len(steps) - 1) == steps[-1]  # wherever one begins


def test_ranks_share_a_step():
    groups = np.array([0, 1, 0, 1, 1, 0, 0])
    alone = TrainingOrder(groups, 4, 0).keys_of(5)
    shares = [next(iter(TrainingOrder(groups, 4, 0, first_step=5, rank=r, ranks=2))) for r in range(2)]
    assert sorted(shares[0] + shares[1]) == sorted(alone)


@given(st.lists(st.floats(1, 5), min_size=1, max_size=20))
def test_balance_shows_every_image_and_rare_categories_more_often(repeats):
    order = TrainingOrder(np.zeros(len(repeats), np.int64), 3, 0, repeats=np.array(repeats))
    steps = -(-order.epoch_length // 3)
    keys = [key for step in range(steps) for key in order.keys_of(step)][: order.epoch_length]
    seen = Counter(key.image for key in keys)
    assert set(seen) == set(range(len(repeats)))
    assert all(np.floor(r * 0.99) <= seen[i] <= np.ceil(r) + 1 for i, r in enumerate(repeats))
    assert len(set(keys)) == len(keys)  # an image that comes again is augmented anew


def test_images_of_a_rare_category_are_repeated(dataset):
    train = open_split(dataset, "train")
    first, rare = train.images[0].id, train.categories[0].id
    kept = [a for a in train.annotations if a.category_id != rare or a.image_id == first]
    kept.append(replace(kept[0], id=10**6, image_id=first, category_id=rare))
    repeats = repeats_for_balance(replace(train, annotations=tuple(kept)))
    assert repeats[0] > 1.5
    assert (repeats[1:] == 1.0).sum() > len(repeats) / 2


@pytest.mark.parametrize("options", [{"quality": 75}, {"quality": 95, "subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_decoded_images_equal_those_of_pillow(tmp_path, mode, options):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (21, 33, 3), dtype=np.uint8)).resize((333, 217)).convert(mode)
    picture.save(tmp_path / "p.jpg", **options)
    assert np.array_equal(decode_rgb(tmp_path / "p.jpg"), load_rgb(tmp_path / "p.jpg"))


def test_a_truncated_file_is_an_error(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(buffer, "JPEG")
    (tmp_path / "p.jpg").write_bytes(buffer.getvalue()[:-400])
    with pytest.raises(InputError, match=r"p.jpg: cannot be decoded"):
        decode_rgb(tmp_path / "p.jpg")


def test_making_an_image_smaller_averages_pixels():
    fine = np.indices((80, 120)).sum(axis=0) % 2 * 255  # a chequered board of single pixels
    small = resize_rgb(np.repeat(fine[:, :, None], 3, axis=2).astype(np.uint8), 40, 60)
    assert small.shape == (40, 60, 3)
    assert np.abs(small.astype(int) - 127).max() <= 4  # borders see one pixel more of one kind
    flat = np.full((7, 9, 3), 40, np.uint8)
    assert (resize_rgb(flat, 20, 30) == 40).all()


@pytest.mark.parametrize("augment", ["none", "light", "medium", "heavy"])
def test_image_boxes_and_masks_are_transformed_alike(dataset, augment):
    """After any augmentation, boxes are the tight boxes of the masks, in the coordinates of the image."""
    pictures = Pictures(
        open_split(dataset, "train"), Framing("instances", 64, 96), seed=0, augment=augment, accept_boxes=False
    )
    some = 0
    for epoch in range(4):
        for image in range(len(pictures)):
            sample = pictures[Key(epoch, image)]
            height, width = sample.image.shape[-2:]
            assert (height, width) == pictures.frame_of(Key(epoch, image))
            boxes = sample.target["boxes"]
            assert (boxes[:, :2] >= 0).all()
            assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
            masks = whole(sample.target, height, width)
            for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
                assert mask[y1:y2, x1:x2].any(0)[[0, -1]].all()
                assert mask[y1:y2, x1:x2].any(1)[[0, -1]].all()
                some += 1
            again = pictures[Key(epoch, image)]
            assert torch.equal(again.image, sample.image)
            assert again.target["seed"] == sample.target["seed"]
    assert some > 50


def test_a_pasted_instance_covers_the_instances_below():
    image, other = np.zeros((10, 10, 3), np.uint8), np.full((6, 20, 3), 9, np.uint8)
    own = [BoxMask(1, 0, 0, np.ones((4, 4), np.uint8)), BoxMask(1, 8, 8, np.ones((2, 2), np.uint8))]
    others = [BoxMask(2, 0, 2, np.ones((3, 12), np.uint8)), BoxMask(3, 2, 15, np.ones((1, 1), np.uint8))]

    class Always:
        def random(self):
            return 1.0

    pixels, left, pasted = paste(Always(), image, own, other, others)
    crops = left + pasted
    assert (pixels[:3, 2:] == 9).all()
    assert (pixels[3:] == 0).all()
    assert [(c.label, c.top, c.left, c.bitmap.shape) for c in crops] == [
        (1, 0, 0, (4, 4)), (1, 8, 8, (2, 2)), (2, 0, 2, (3, 8)),
    ]  # fmt: skip
    assert crops[0].bitmap.sum() == 4 * 4 - 3 * 2
    _, covered, over = paste(Always(), image, [BoxMask(1, 0, 3, np.ones((2, 2), np.uint8))], other, others)
    assert [c.label for c in covered + over] == [2]


@pytest.mark.parametrize("aligned", [True, False])
def test_mask_targets_of_box_masks_are_those_of_whole_masks(aligned):
    """Also for regions at the border, across it, smaller and larger than the instance."""
    g = torch.Generator().manual_seed(0)
    crops = [
        BoxMask(1, 0, 0, np.random.default_rng(0).integers(0, 2, (20, 30), dtype=np.uint8)),
        BoxMask(2, 25, 40, np.ones((15, 24), np.uint8)),
        BoxMask(1, 10, 5, np.ones((1, 1), np.uint8)),
    ]
    target = box_masks_to_target(crops)
    corners = torch.rand(60, 2, 2, generator=g) * torch.tensor([64.0, 40.0])
    regions = torch.cat([corners.amin(1), corners.amax(1) + 0.1], dim=1)
    regions[:, 2].clamp_(max=64)
    regions[:, 3].clamp_(max=40)
    matched = torch.randint(0, 3, (60,), generator=g)
    ours = mask_targets(target, regions, matched, (40, 64), 28, aligned=aligned)
    theirs = mask_targets({"masks": whole(target, 40, 64)}, regions, matched, (40, 64), 28, aligned=aligned)
    assert (ours - theirs).abs().max() < 1e-4
    if not aligned:
        assert torch.equal(theirs, project_masks_on_boxes(whole(target, 40, 64), regions, matched, 28))


def test_what_is_sent_to_a_worker_can_be_pickled(dataset):
    """On Windows and macOS workers are spawned, and the dataset is pickled."""
    pictures = Pictures(
        open_split(dataset, "train"), Framing("instances", 64, 96), seed=0, augment="heavy", accept_boxes=False
    )
    again = pickle.loads(pickle.dumps(pictures))
    assert torch.equal(again[Key(1, 2)].image, pictures[Key(1, 2)].image)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("size", "to"), [((97, 61), (96, 60)), ((240, 333), (81, 113)), ((500, 9), (13, 9))])
def test_images_shrink_without_pytorch_to_the_bytes_of_its_kernel(size, to, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    ours, theirs = shrunk(pixels, *to), resize_rgb(pixels, *to)
    assert ours.shape == theirs.shape
    off = np.abs(ours.astype(int) - theirs)
    assert off.max() <= 1  # where another processor rounds in another order
    assert (off > 0).mean() < 1e-3
