"""Two commands that write to one folder at the same time: one is refused, and what the other writes is whole."""

import os

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no locks of this kind")


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_of_two_conversions_into_one_folder_the_second_is_refused(segkit, parts, here, force):
    from segkit.config.convert import ConvertConfig
    from segkit.convert.convert import convert
    from segkit.progress import Progress

    outcomes = []

    class Second(Progress):
        def start(self, description, total):
            if not outcomes:
                outcomes.append(segkit("convert", parts, "--out", "d", *force))

    convert(ConvertConfig(src=str(parts), out=here / "d"), Second())
    assert outcomes[0].code == 1
    assert "d: another segkit is writing there" in outcomes[0].err
    assert "hint: wait for its end, or choose another --out" in outcomes[0].err
    assert sorted(path.name for path in here.iterdir()) == ["d"]
    again = segkit("convert", parts, "--out", "d", *force)
    assert again.code == (0 if force else 1)


def test_what_a_killed_conversion_left_the_next_one_removes(segkit, parts, here):
    left = here / ".d.writing/.work"
    left.mkdir(parents=True)
    (left / "instances").write_bytes(b"half")
    (here / ".d.lock").touch()
    assert segkit("convert", parts, "--out", "d").code == 0
    assert sorted(path.name for path in here.iterdir()) == ["d"]
    assert not (here / "d/.work").exists()
