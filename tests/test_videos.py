"""Videos: frames read one after the other, an annotated video, and a table with a row for each frame."""

import csv
import json
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
from drawn_discs import disc_model, draw_discs, save

from segkit.data.videos import VideoWriter, frame_pixels, look_at_video, video_frames
from segkit.errors import InputError
from segkit.inference.frames import Frames, with_frames
from segkit.inference.input_files import Picture

av = pytest.importorskip("av")

CODECS = {"avi": "mjpeg", "mkv": "ffv1", "mov": "mpeg4", "mp4": "mpeg4", "webm": "libvpx"}


def frame_of(number, size=(48, 64)):
    """Frame ``number`` from 1: a red disc that moves right, and from frame 4 on a green one."""
    discs = [(10 + 3 * number, 20, 7, 1)] + ([(20, 38, 6, 2)] if number > 3 else [])
    return draw_discs(*size, discs)


def make_video(path, count=8, rate=10, size=(48, 64), codec=None, rotation=0, **options):
    """A video of the frames 1 to ``count``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        codec = codec or CODECS[path.suffix[1:]]
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = {"ffv1": "bgr0", "mjpeg": "yuvj444p"}.get(codec, "yuv420p")
        stream.options = {"crf": "4", "b:v": "4M"} if codec == "libvpx" else {}
        if codec in ("mpeg4", "mjpeg"):
            stream.codec_context.qmin, stream.codec_context.qmax = 1, 2
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(1, count + 1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_of(number, size), format="rgb24")))
        container.mux(stream.encode())
    return path


def seen(path):
    """Number and pixels of all frames of a video."""
    return [(number, frame_pixels(frame)) for number, frame in video_frames(path, look_at_video(path))]


def like(found, expected):
    """Whether pixels are the same but for what compression changes."""
    return found.shape == expected.shape and np.abs(found.astype(int) - expected).mean() < 6


@pytest.fixture
def discs(monkeypatch, tmp_path):
    model = disc_model(tmp_path / "discs.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_all_frames_are_read_in_order(tmp_path, suffix):
    path = make_video(tmp_path / f"a.{suffix}")
    video = look_at_video(path)
    assert video.times == pytest.approx([n / 10 for n in range(8)], abs=0.002)
    assert (video.rate, video.cut_off, video.is_even) == (10, None, True)
    found = seen(path)
    assert [number for number, _ in found] == list(range(1, 9))
    assert all(like(pixels, frame_of(number)) for number, pixels in found)


def test_a_portrait_of_a_phone_is_upright(tmp_path):
    path = make_video(tmp_path / "a.mp4", rotation=-90)
    for number, pixels in seen(path):
        assert like(pixels, np.rot90(frame_of(number), -1))


def test_frames_are_there_in_whatever_order_threads_ask(tmp_path):
    path = make_video(tmp_path / "a.mkv", count=12)
    pictures = list(with_frames([Picture(path, "a.mkv", "a")], 1, []))
    frames, found = Frames(), {}
    frames.expect(pictures)

    def ask(picture):
        found[picture.frame] = frames.pixels(picture)

    order = [pictures[n] for n in (1, 0, 2, 5, 4, 3, 6, 7, 8, 11, 9, 10)]
    for start in range(0, 12, 3):
        threads = [threading.Thread(target=ask, args=(each,)) for each in order[start : start + 3]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert all(like(found[number], frame_of(number)) for number in range(1, 13))


def test_a_video_gives_an_annotated_video_and_a_row_a_frame(segkit, here, discs):
    make_video(here / "in/clip.mp4")
    save(here / "in/a.png", frame_of(1))
    done = segkit("predict", "in", "--format", "overlay,coco,csv,idmask", "--labels", "none", "--json")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["file"] for line in lines] == ["a.png", *(f"clip.mp4#{n:06d}" for n in range(1, 9))]
    assert [(line["frame"], line["time"]) for line in lines[1:]] == [(n, (n - 1) / 10) for n in range(1, 9)]
    table = rows(here / "predictions/frames/clip.csv")
    assert [row["frame"] for row in table] == [str(n) for n in range(1, 9)]
    assert [float(row["seconds"]) for row in table] == [n / 10 for n in range(8)]
    assert [row["instances of a"] for row in table] == ["1"] * 8
    assert [row["instances of b"] for row in table] == ["0"] * 3 + ["1"] * 5
    annotated = here / "predictions/overlay/clip.mp4"
    video = look_at_video(annotated)
    assert (video.rate, len(video.times), video.is_even) == (10, 8, True)
    for number, pixels in seen(annotated):
        assert pixels.shape == (48, 64, 3)
        differ = (np.abs(pixels.astype(int) - frame_of(number)).max(axis=2) > 60).mean()
        assert 0.005 < differ < 0.1  # contours
    assert sorted(path.name for path in (here / "predictions/overlay").iterdir()) == ["a.jpg", "clip.mp4"]
    assert len(list((here / "predictions/idmask").iterdir())) == 9
    assert len(rows(here / "predictions/pictures.csv")) == 9


def test_every_other_frame(segkit, here, discs):
    make_video(here / "clip.mp4")
    done = segkit("predict", "clip.mp4", "--every", "3")
    assert done.code == 0, done.err
    assert [row["frame"] for row in rows(here / "predictions/frames/clip.csv")] == ["1", "4", "7"]
    video = look_at_video(here / "predictions/overlay/clip.mp4")
    assert video.times == pytest.approx([0, 0.3, 0.6], abs=1e-4)
    save(here / "a.png", frame_of(1))
    done = segkit("predict", "a.png", "--every", "2", "--out", "other")
    assert "warning: --every 2 is for videos, and there are none" in done.err


def test_resume_goes_on_within_a_video(segkit, here, discs):
    make_video(here / "in/clip.mp4")
    make_video(here / "in/clip.mkv", count=3)
    assert segkit("predict", "in", "--out", "whole").code == 0
    assert segkit("predict", "in", "--out", "part").code == 0
    part = here / "part"
    journal = (part / "pictures.jsonl").read_bytes().splitlines(keepends=True)
    (part / "pictures.jsonl").write_bytes(b"".join(journal[:6]) + journal[6][:20])
    (part / "overlay/clip_2.mp4").unlink()
    done = segkit("predict", "in", "--out", "part", "--resume")
    assert done.code == 0, done.err
    assert "5 images (6 done before)" in done.err
    names = {path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()}
    assert {"overlay/clip.mp4", "overlay/clip_2.mp4", "frames/clip.csv", "frames/clip_2.csv"} <= names
    for name in names:
        if name.endswith(".mp4"):
            pairs = zip(seen(part / name), seen(here / "whole" / name), strict=True)
            assert all(a[0] == b[0] and like(a[1], b[1].astype(int)) for a, b in pairs)
        else:
            assert (part / name).read_bytes() == (here / "whole" / name).read_bytes()
    assert segkit("predict", "in", "--out", "part", "--resume", "--every", "2").code == 1
    assert segkit("predict", "in/clip.mkv", "--out", "part", "--force", "--format", "coco").code == 0
    assert not (part / "overlay").exists()
    assert [path.name for path in (part / "frames").iterdir()] == ["clip.csv"]


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_a_video_that_is_cut_off_gives_the_frames_that_are_there(segkit, here, discs, suffix):
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = make_video(here / f"clip.{suffix}", count=20, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    done = segkit("predict", path.name, "--format", "overlay,coco")
    assert done.code == 1
    assert f"error: clip.{suffix}: is cut off" in done.err
    table = rows(here / "predictions/frames/clip.csv")
    assert 5 <= len(table) < 20
    assert {row["instances of a"] for row in table} == {"1"}
    assert len(look_at_video(here / "predictions/overlay/clip.mp4").times) == len(table)


def test_frames_that_cannot_be_decoded_are_named_together(segkit, here, discs):
    path = make_video(here / "clip.mkv", codec="mjpeg")
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for place, size in packets[2:4]:
        start = content.index(bytes.fromhex("ffd8"), place)
        content[start : start + size] = bytes(size)
    path.write_bytes(content)
    done = segkit("predict", path.name)
    assert done.code == 1
    assert "error: clip.mkv: frame 3 and 1 more of its frames: cannot be decoded" in done.err
    assert [row["frame"] for row in rows(here / "predictions/frames/clip.csv")] == ["1", "2", "5", "6", "7", "8"]


def test_what_is_no_video_is_named_and_passed_over(segkit, here, discs):
    (here / "in").mkdir()
    (here / "in/empty.mp4").touch()
    (here / "in/text.avi").write_text("no video")
    with av.open(str(here / "in/sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    make_video(here / "in/whole.mp4", count=2)
    done = segkit("predict", "in", "--format", "coco")
    assert done.code == 1
    assert "empty.mp4: an empty file (0 bytes)" in done.err
    assert "text.avi: cannot be read as a video: " in done.err
    assert "sound.mp4: a video without frames" in done.err
    assert len(rows(here / "predictions/frames/whole.csv")) == 2


def test_without_the_package_videos_are_refused_or_passed_over(segkit, here, discs, monkeypatch):
    make_video(here / "in/clip.mp4", count=2)
    monkeypatch.setitem(sys.modules, "av", None)
    done = segkit("predict", "in")
    assert done.code == 1
    assert "clip.mp4: the package av is not installed" in done.err
    assert 'pip install "segkit[video]"' in done.err
    assert not (here / "predictions").exists()
    save(here / "in/a.png", frame_of(1))
    done = segkit("predict", "in", "--format", "coco")
    assert done.code == 1
    assert 'clip.mp4: the package av is not installed: pip install "segkit[video]"' in done.err
    assert [each["file_name"] for each in json.loads((here / "predictions/images.json").read_text())["images"]] == [
        "a.png"
    ]


@pytest.mark.parametrize(("name", "why"), [("labelme", "LabelMe opens pictures only"), ("gpkg", "no map coordinates")])
def test_formats_that_videos_do_not_have_are_refused(segkit, here, discs, name, why):
    make_video(here / "clip.mp4", count=2)
    done = segkit("predict", "clip.mp4", "--format", name)
    assert done.code == 1
    assert done.err.startswith(f"error: --format {name}: clip.mp4 is a video")
    assert why in done.err


def test_frames_at_their_own_times_are_written_at_these(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", 48, 63, Fraction(10), even=False)
    times = [0.0, 0.1, 0.35, 0.4, 1.0]
    for place, at in enumerate(times):
        writer.add(frame_of(place, (48, 63)), place, at)
    writer.close()
    video = look_at_video(tmp_path / "a.mp4")
    assert video.times == pytest.approx(times, abs=0.001)
    assert not video.is_even
    assert all(pixels.shape == (48, 63, 3) for _, pixels in seen(tmp_path / "a.mp4"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no such video"):
        look_at_video(tmp_path / "a.mp4")


def test_other_commands_refuse_videos_in_one_line(segkit, here):
    make_video(here / "clip.mp4", count=2)
    for command in ("convert", "train", "check"):
        done = segkit(command, "clip.mp4")
        assert done.code in (1, 2)
        assert "clip.mp4: is a video, which only predict takes" in done.err
        assert "Traceback" not in done.err
