"""Pictures in tiles: with a model that finds drawn discs exactly, tiles give what the whole picture gives."""

import json
from itertools import pairwise

import numpy as np
import pytest
from drawn_discs import COLOURS, disc_model, draw_discs, save
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from random_models import card_of, checkpoint

from segkit.data.masks import mask_ious, mask_to_rle, rle_to_mask
from segkit.data.records import Result
from segkit.inference.batches import BatchPredictor
from segkit.inference.choose import Choice
from segkit.inference.tiled import Tiling, predict_tiles
from segkit.inference.tiles import Tile, merge_pieces, pieces_of, tiles_of
from segkit.progress import SILENT


@given(st.integers(1, 500), st.integers(1, 500), st.integers(32, 120), st.floats(0, 0.5))
def test_tiles_cover_every_pixel_and_overlap_enough(height, width, side, share):
    overlap = int(side * share)
    tiles = tiles_of(height, width, side, overlap)
    seen = np.zeros((height, width), int)
    for tile in tiles:
        assert (tile.height, tile.width) == (min(side, height), min(side, width))
        seen[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert seen.min() == 1 or len(tiles) > 1
    assert seen.min() >= 1
    for starts, own in (
        (sorted({t.top for t in tiles}), tiles[0].height),
        (sorted({t.left for t in tiles}), tiles[0].width),
    ):
        assert all(a + own - b >= overlap for a, b in pairwise(starts))


def whole_and_tiled(model, pixels, tiling, path):
    predictor = BatchPredictor(model.predict, model.device, 4, SILENT)
    size = pixels.shape[:2]
    choice = Choice({1: 0.1, 2: 0.1})
    large = Tiling(max(size), 0)
    window = lambda tile: pixels[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]  # noqa: E731
    return [predict_tiles(model, predictor, "a", size, window, each, choice) for each in (large, tiling)]


def masks_of(results):
    return sorted((r.category_id, r.segmentation["counts"]) for r in results)


@st.composite
def drawings(draw):
    """Discs that do not touch each other."""
    height, width = draw(st.integers(60, 200)), draw(st.integers(60, 200))
    discs = []
    for _ in range(draw(st.integers(0, 14))):
        x, y = draw(st.integers(0, width)), draw(st.integers(0, height))
        radius, label = draw(st.integers(4, 60)), draw(st.sampled_from([1, 2]))
        if all((x - a) ** 2 + (y - b) ** 2 > (radius + r + 3) ** 2 for a, b, r, _ in discs):
            discs.append((x, y, radius, label))
    side = draw(st.integers(40, 90))
    return height, width, discs, Tiling(side, draw(st.integers(8, side // 2)))


@pytest.mark.parametrize("unet", [False, True], ids=["instances", "labels"])
@settings(max_examples=50, deadline=None)
@given(drawings())
def test_tiles_find_what_the_whole_picture_shows(tmp_path_factory, unet, drawing):
    """Also objects that are larger than a tile."""
    height, width, discs, tiling = drawing
    model = disc_model(tmp_path_factory.mktemp("m") / "m.pt", unet=unet)
    whole, tiled = whole_and_tiled(model, draw_discs(height, width, discs), tiling, None)
    assert masks_of(tiled.results) == masks_of(whole.results)


def test_labels_of_tiles_are_those_of_the_whole_picture(tmp_path):
    model = disc_model(tmp_path / "m.pt", unet=True)
    pixels = draw_discs(150, 210, [(60, 60, 50, 1), (150, 100, 40, 2)])
    whole, tiled = (each.labels for each in whole_and_tiled(model, pixels, Tiling(64, 16), None))
    assert (whole == tiled).all()
    assert set(np.unique(whole)) == {0, 1, 2}


def test_probabilities_are_blended_over_the_overlap(tmp_path):
    """A model that is only sure in the middle of what it sees: the mean is sure where one tile is."""
    model = disc_model(tmp_path / "m.pt", unet=True)
    sure = model.maps

    def unsure(images):
        out = []
        for shares in sure(images):
            edge = np.minimum.reduce(
                np.meshgrid(*(np.minimum(np.arange(n), n - 1 - np.arange(n)) for n in shares.shape[1:]), indexing="ij")
            )
            changed = shares.clone()
            changed[:, edge < 6] = changed.new_tensor([0.9, 0.05, 0.05])[:, None]
            out.append(changed)
        return out

    object.__setattr__(model, "maps", unsure)
    pixels = draw_discs(96, 160, [(80, 48, 36, 1)])
    predictor = BatchPredictor(model.predict, model.device, 4, SILENT)
    window = lambda tile: pixels[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]  # noqa: E731
    found = predict_tiles(model, predictor, "a", (96, 160), window, Tiling(64, 32), Choice({1: 0.1, 2: 0.1}))
    assert (found.labels == (pixels[..., 0] > 128)).mean() > 0.99
    assert len(found.results) == 1


def piece_results(tile, mask, score=0.9):
    part = mask[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
    return [Result(0, 1, score, None, mask_to_rle(part))] if part.any() else []


def merged(tiles, found, size):
    pieces = [
        p
        for n, (tile, results) in enumerate(zip(tiles, found, strict=True))
        for p in pieces_of(n, tile, results, *size)
    ]
    return merge_pieces(pieces, tiles, *size)


def test_two_objects_that_touch_at_a_seam_stay_two():
    tiles = tiles_of(60, 100, 60, 20)
    left, right = np.zeros((60, 100), np.uint8), np.zeros((60, 100), np.uint8)
    left[20:40, 20:50] = 1
    right[20:40, 50:80] = 1
    found = [piece_results(t, left, 0.9) + piece_results(t, right, 0.8) for t in tiles]
    results = merged(tiles, found, (60, 100))
    assert [rle_to_mask(r.segmentation).tolist() for r in results] == [left.tolist(), right.tolist()]


def test_the_piece_that_no_tile_cuts_is_taken():
    """What a tile sees at its edge is worse than what its neighbour sees whole."""
    tiles = [Tile(0, 0, 60, 60), Tile(0, 30, 60, 60)]
    mask = np.zeros((60, 90), np.uint8)
    mask[20:40, 35:65] = 1
    shrunk = mask.copy()
    shrunk[:24] = shrunk[36:] = 0
    found = [piece_results(tiles[0], shrunk, 0.95), piece_results(tiles[1], mask, 0.7)]
    (result,) = merged(tiles, found, (60, 90))
    assert (rle_to_mask(result.segmentation) == mask).all()
    assert result.score == 0.7


def test_categories_are_not_merged():
    tiles = tiles_of(60, 100, 60, 20)
    mask = np.zeros((60, 100), np.uint8)
    mask[20:40, 30:70] = 1
    found = [[Result(0, number, r.score, None, r.segmentation) for r in piece_results(tile, mask)]
             for number, tile in enumerate(tiles, 1)]  # fmt: skip
    assert len(merged(tiles, found, (60, 100))) == 2


def test_boxes_are_merged():
    tiles = tiles_of(60, 100, 60, 20)
    found = [[Result(0, 1, 0.9, (30.0, 20.0, 30.0, 20.0))], [Result(0, 1, 0.8, (0.0, 20.0, 30.0, 20.0))]]
    (result,) = merged(tiles, found, (60, 100))
    assert result.bbox == (30, 20, 40, 20)
    assert result.segmentation is None


@pytest.mark.parametrize("unet", [False, True])
def test_predict_in_tiles(segkit, here, monkeypatch, tmp_path, unet):
    model = disc_model(tmp_path / "m.pt", unet=unet)
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    discs = [(x, y, 13, 1 + (x + y) // 7 % 2) for x in range(20, 400, 33) for y in range(20, 300, 35)]
    pixels = draw_discs(300, 400, discs)
    save(here / "in/a.png", pixels)
    save(here / "in/small.png", pixels[:60, :60])

    def predicted(*options):
        done = segkit("predict", "in", "--score", 0.2, "--format", "coco,idmask", "--force", *options)
        assert done.code == 0, done.err
        results = json.loads((here / "predictions/results.json").read_text())
        ids = np.asarray(Image.open(here / "predictions/idmask/a.png"))
        return {(r["image_id"], r["category_id"], r["segmentation"]["counts"]) for r in results}, (ids > 0), done.err

    whole, covered, said = predicted()
    assert "in tiles" not in said
    assert len(whole) > len(discs)
    tiled, again, said = predicted("--tile", 96, "--overlap", 40)
    assert "a.png: predicted in tiles of 96 pixels\n" in said
    assert tiled == whole
    assert (covered == again).all()
    assert (covered == (pixels[..., :2].max(axis=2) > 128)).all()
    _, _, said = predicted("--tile", "auto")
    assert "in tiles" not in said  # it is not larger than what the model gets


def test_auto_takes_tiles_for_large_pictures(segkit, here, monkeypatch, tmp_path):
    model = disc_model(tmp_path / "m.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    save(here / "in/a.png", draw_discs(600, 700, [(300, 300, 200, 1)]))
    done = segkit("predict", "in", "--tile", "auto", "--format", "coco")
    assert done.code == 0, done.err
    assert "a.png: predicted in tiles of 256 pixels" in done.err
    (result,) = json.loads((here / "predictions/results.json").read_text())
    expected = mask_to_rle(draw_discs(600, 700, [(300, 300, 200, 1)])[..., 0] == COLOURS[1][0])
    assert mask_ious([result["segmentation"]], [expected], [False])[0, 0] == 1


def test_a_picture_that_is_made_much_smaller_is_said(segkit, here, tmp_path):
    path = checkpoint(tmp_path / "m.pt", card_of("fasterrcnn"))  # it gets 64 x 96 pixels at most
    save(here / "in/a.png", np.zeros((300, 400, 3), np.uint8))
    options = ("predict", "in", "--model", path, "--format", "coco", "--device", "cpu", "--force")
    said = "warning: a.png: is made 5 times smaller for the model, so that small instances may be lost: --tile auto"
    assert said in segkit(*options).err
    assert "times smaller" not in segkit(*options, "--tile", 128).err
    save(here / "in/a.png", np.zeros((100, 150, 3), np.uint8))
    assert "times smaller" not in segkit(*options).err


@pytest.mark.parametrize("options", [["--overlap", "10"], ["--tile", "64", "--overlap", "40"]])
def test_overlaps_without_sense_are_refused(segkit, options):
    done = segkit("predict", "x.png", *options)
    assert done.code in (1, 2)
    assert "error: --overlap" in done.err


@pytest.mark.parametrize("text", ["0", "31", "big", "-5", "99999"])
def test_what_is_no_tile_is_refused(segkit, text):
    done = segkit("predict", "x.png", f"--tile={text}")
    assert done.code == 2
    assert "nor auto or none" in " ".join(done.err.split())
