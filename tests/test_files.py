"""Writing through a temporary file, and relative paths."""

import pytest

from segkit.data.files import relative_path, temporary_file


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"flush": True}])
def test_a_file_is_replaced_as_a_whole(tmp_path, options):
    path = tmp_path / "a.json"
    path.write_text("old")
    with temporary_file(path, **options) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path  # a rename over file systems would be a copy
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail():
        with temporary_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match=r"a\.json"), temporary_file(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_relative_paths_have_forward_slashes(tmp_path):
    assert relative_path(tmp_path / "a/b.png", tmp_path / "c/d") == "../../a/b.png"
