"""A file is the old one or the whole new one."""

import os

import pytest

from segkit.system.files import write_atomically


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_the_old_file_stays_when_writing_fails(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(partial):
        partial.write_text("half of the n")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(partial):
        partial.write_text("new")
        assert partial.parent == tmp_path  # a rename within one file system cannot be half done
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_missing_folders_are_made_and_a_failing_first_write_leaves_nothing(tmp_path):
    write_atomically(tmp_path / "a/b/c.txt", lambda partial: partial.write_text("x"))
    assert (tmp_path / "a/b/c.txt").read_text() == "x"
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a.txt", lambda partial: 1 / 0)
    assert os.listdir(tmp_path) == ["a"]
