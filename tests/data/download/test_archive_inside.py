"""A folder of an archive can be unpacked alone; all of the archive is checked, and what is unpacked once more."""

import os
from types import SimpleNamespace

import pytest
from made_up_archives import found, refusal, tar_of, zip_of

from segkit.data.download.archive import unpack
from segkit.errors import InputError, RunError

MEMBERS = [
    ("repo-1/", b""),
    ("repo-1/README", b"1"),
    ("repo-1/data/", b""),
    ("repo-1/data/a/b.png", b"2"),
    ("repo-1/data/c", b"3"),
]


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("inside", ["repo-1/data", "*/data"])
def test_a_folder_of_an_archive_is_unpacked_alone(place, pack, inside):
    archive, root = place(pack(MEMBERS))
    seen = []
    unpack(archive, root, inside=inside, progress=seen.append)
    assert found(root) == {"a/b.png": b"2", "c": b"3"}
    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("more", "inside", "reason"),
    [
        ([("../evil", b"")], "*/data", "leads out of its folder"),
        (
            [("other/data/x", b"")],
            "*/data",
            "member 'other/data/x' is in another folder than 'repo-1/data'; expected one */data",
        ),
        ([("other/data", b"")], "other/data", "member 'other/data' is a file; expected a folder"),
        ([], "repo-1/dat", "holds nothing in a folder repo-1/dat. Nothing was unpacked."),
        ([], "data", "holds nothing in a folder data. Nothing was unpacked."),
    ],
)
def test_an_archive_without_that_folder_or_with_two_of_them_is_refused(place, more, inside, reason):
    assert reason in refusal(*place(tar_of([*MEMBERS, *more])), inside=inside)


def test_what_is_unpacked_can_be_checked_and_added_to_before_it_has_its_name(place):
    archive, root = place(tar_of(MEMBERS))

    def finish(folder):
        assert folder != root
        assert not root.exists()
        (folder / "repo-1" / "more").write_bytes(b"4")

    unpack(archive, root, finish=finish)
    assert found(root)["repo-1/more"] == b"4"

    def refuse(folder):
        raise InputError(f"{len(found(folder))} files")

    assert refusal(archive, root.parent / "deeper" / "b", finish=refuse) == "3 files"


def test_every_file_is_on_the_disk_before_the_folder_has_its_name(place, monkeypatch):
    archive, root = place(tar_of(MEMBERS))
    synced, fsync = [], os.fsync

    def watched(descriptor):
        synced.append((os.fstat(descriptor).st_ino, root.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    unpack(archive, root, inside="repo-1/data")
    inodes = {path.stat().st_ino for path in (root, root / "a", root / "a" / "b.png", root / "c")}
    assert {inode for inode, there in synced if not there} == inodes
    assert [inode for inode, there in synced if there] == [root.parent.stat().st_ino]


def test_too_little_space_is_told_before_anything_is_written(place, monkeypatch):
    archive, root = place(tar_of([("a", bytes(5000))]))
    root.parent.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4999))
    with pytest.raises(RunError, match="disk full: 0.0 MB needed"):
        unpack(archive, root)
    assert [*root.parent.iterdir()] == []
