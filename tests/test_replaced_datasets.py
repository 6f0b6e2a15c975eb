"""--force replaces a dataset as a whole: a kill at any moment leaves the earlier one or the new one."""

import json
import os
import shutil
from pathlib import Path

import pytest

from segkit.config.convert import ConvertConfig
from segkit.conversion.convert import convert
from segkit.errors import InputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")


def content_of(folder):
    """Bytes by name; of the report, which tells of earlier datasets too, only what the splits were made by."""
    content = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return content | {"report.json": json.loads(content["report.json"])["split_settings"]}


def convert_and_die(config, monkeypatch, count, before):
    """Convert in a process that is killed before or after its rename number ``count``; returns whether it was."""
    pid = os.fork()
    if pid == 0:
        rename, calls = Path.rename, []

        def dies(path, target):
            calls.append(target)
            if before and len(calls) == count:
                os._exit(9)
            renamed = rename(path, target)
            if len(calls) == count:
                os._exit(9)
            return renamed

        monkeypatch.setattr(Path, "rename", dies)
        try:
            convert(config)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.parametrize("target", ["coco", "yolo", "labelme", "panoptic"])
@pytest.mark.parametrize("placed", ["link", "copy", "reference"])
def test_a_dataset_that_is_converted_in_place_keeps_its_pictures(parts, here, target, placed):
    """A link or a path to a picture of the dataset that is replaced would lead to nothing."""
    out = here / "d"
    convert(ConvertConfig(src=str(parts), out=out, images="copy", workers=1))
    outside = here / "outside.jpg"
    first = next(path for path in sorted((out / "images").rglob("*.jpg")))
    first.rename(outside)
    first.symlink_to(outside)
    pictures = sorted(path.read_bytes() for path in (out / "images").rglob("*.jpg"))
    images = placed if target in ("coco", "labelme") or placed != "reference" else "link"
    again = convert(ConvertConfig(src=str(out), out=out, images=images, target_format=target, workers=1, force=True))
    assert again.left_out == 0
    assert sorted(path.read_bytes() for path in out.rglob("*.jpg")) == pictures
    assert outside.is_file()


def test_pictures_of_the_source_are_not_deleted_by_images_none(parts, here):
    out = here / "d"
    convert(ConvertConfig(src=str(parts), out=out, images="copy", workers=1))
    before = content_of(out)
    with pytest.raises(InputError, match="--images none would delete"):
        convert(ConvertConfig(src=str(out / "train.json"), out=out, images="none", workers=1, force=True))
    assert content_of(out) == before


@pytest.mark.parametrize("kept", [["*.json", "*.jpg"], ["*.jpg"]])
def test_a_folder_of_the_source_is_no_target(parts, here, segkit, kept):
    """It would not be read, as the dataset of an earlier conversion is not."""
    shutil.copytree(parts, here / "lm" / "annotated")
    for path in (here / "lm" / "annotated").iterdir():
        if not any(path.match(pattern) for pattern in kept):
            path.rename(here / "lm" / path.name)
    before = sorted((here / "lm").rglob("*"))
    outcome = segkit("convert", "lm", "--out", "lm/annotated")
    assert outcome.code == 1
    assert "error: lm/annotated: is a folder of lm with files, such as" in outcome.err
    assert sorted((here / "lm").rglob("*")) == before
    assert segkit("convert", "lm", "--out", "lm/dataset").code == 0
    assert segkit("convert", "lm", "--out", "lm/dataset", "--force").code == 0


@pytest.mark.parametrize("before", [True, False])
def test_a_kill_between_renames_leaves_one_whole_dataset(parts, here, monkeypatch, before):
    out = here / "d"
    old = ConvertConfig(src=str(parts), out=out, val=0.2, workers=1)
    new = ConvertConfig(src=str(parts), out=out, val=0.0, test=0.3, workers=1, force=True)
    convert(old)
    earlier = content_of(out)
    convert(new)
    later = content_of(out)
    assert later != earlier
    seen, count = set(), 0
    while True:
        convert(ConvertConfig(src=str(parts), out=out, val=0.2, workers=1, force=True))
        count += 1
        if not convert_and_die(new, monkeypatch, count, before):
            break
        if not out.exists():
            seen.add("set aside")
            with pytest.raises(InputError, match="holds a dataset"):  # the next conversion finds the earlier one
                convert(old)
        left = content_of(out)
        assert left in (earlier, later)
        seen.add("earlier" if left == earlier else "later")
        convert(new)
        assert content_of(out) == later
        assert [path.name for path in here.iterdir()] == ["d"]
    assert seen >= {"set aside", "earlier", "later"}
    assert count > 3


def test_a_folder_that_cannot_be_moved_is_filled_entry_by_entry(parts, here, monkeypatch):
    out = here / "d"
    convert(ConvertConfig(src=str(parts), out=out, workers=1))
    (out / "notes.txt").write_text("of the user")
    inode = out.stat().st_ino
    monkeypatch.chdir(out)
    convert(ConvertConfig(src=str(parts), out=Path(), val=0.0, workers=1, force=True))
    assert out.stat().st_ino == inode
    assert not (out / "val.json").exists()
    assert (out / "notes.txt").read_text() == "of the user"


def test_files_of_the_user_are_not_moved(parts, here):
    """A dataset beside them is replaced entry by entry, also where it was written into its source."""
    source = here / "in"
    shutil.copytree(parts, source)
    inodes = {path.name: path.stat().st_ino for path in (source, *source.iterdir())}
    for force in (False, True):
        convert(ConvertConfig(src=str(source), out=source, source_format="labelme", val=0.2, workers=1, force=force))
        assert {name: path.stat().st_ino for name in inodes if (path := source / name).exists()} | {
            "in": source.stat().st_ino
        } == inodes
    assert sorted(path.name for path in here.iterdir()) == ["in"]


def test_a_link_to_a_dataset_stays_a_link(parts, here):
    convert(ConvertConfig(src=str(parts), out=here / "real", workers=1))
    (here / "d").symlink_to("real", target_is_directory=True)
    convert(ConvertConfig(src=str(parts), out=here / "d", val=0.0, workers=1, force=True))
    assert (here / "d").is_symlink()
    assert not (here / "real/val.json").exists()
    assert sorted(path.name for path in here.iterdir()) == ["d", "real"]


def test_what_the_user_put_there_meanwhile_is_not_overwritten(parts, here):
    out, aside = here / "d", here / ".d.replaced"
    convert(ConvertConfig(src=str(parts), out=out, workers=1))
    aside.mkdir()
    (aside / "notes.txt").write_text("earlier")
    (out / "notes.txt").write_text("later")
    with pytest.raises(InputError, match=r"\.d\.replaced: has notes.txt, which a conversion that was killed"):
        convert(ConvertConfig(src=str(parts), out=out, workers=1, force=True))
    assert (aside / "notes.txt").read_text() == "earlier"
    assert (out / "notes.txt").read_text() == "later"
