"""Whatever an archive holds, exactly its files are unpacked, inside their folder, or nothing is. `pytest
--hypothesis-profile=search` looks longer."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.data.download.archive import unpack
from segkit.errors import InputError, RunError

MEMBERS = [("repo-1/", b""), ("repo-1/README", b"1"), ("repo-1/data/a/b.png", b"2" * 9000), ("repo-1/data/c", b"")]
PACKERS = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def tar_of(members, *, kind=None, format=tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of (name, content) pairs; a name that ends in / is a folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name.rstrip("/") or name)
            info.type = kind or (tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
            info.size, info.linkname = len(content), "elsewhere" if kind else ""
            info.mode, info.uid, info.mtime = 0o6777, 1234, 1
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zip_of(members, mode=0) -> bytes:
    """A zip archive of (name, content) pairs."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zip:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            zip.writestr(info, content)
    return packed.getvalue()


@pytest.fixture
def place(tmp_path):
    """`place(content)`: an archive's path, and the folder to make."""

    def place(content):
        (tmp_path / "archive").write_bytes(content)
        return tmp_path / "archive", tmp_path / "target" / "root"

    return place


def refusal(archive, root, **options):
    """The message; nothing was left beside the folder, nor above it."""
    with pytest.raises(InputError) as caught:
        unpack(archive, root, **options)
    assert not root.parent.exists() or not [*root.parent.iterdir()]
    assert {path.name for path in archive.parent.iterdir()} <= {"archive", "target"}
    return str(caught.value).replace(str(archive), "ARCHIVE")


def found(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("inside", ["repo-1/data", "*/data"])
def test_a_folder_of_an_archive_is_unpacked_whole(place, pack, format, inside):
    archive, root = place(pack(tar_of(MEMBERS, format=format)))
    sizes = []
    unpack(archive, root, inside=inside, progress=sizes.append)
    assert found(root) == {"a/b.png": b"2" * 9000, "c": b""}
    assert sizes == [len(content) for _, content in MEMBERS]
    assert [path.name for path in root.parent.iterdir()] == ["root"]


@pytest.mark.parametrize("inside", ["repo-1/data", "*/data"])
def test_a_folder_of_a_zip_is_unpacked_whole(place, inside):
    archive, root = place(zip_of(MEMBERS))
    unpack(archive, root, inside=inside)
    assert found(root) == {"a/b.png": b"2" * 9000, "c": b""}


@pytest.mark.parametrize(
    "packed",
    [
        zip_of([("../evil", b"1")]), zip_of([("x", b"/etc/passwd")], mode=0o120777), zip_of([("x/", b"content")]),
        zip_of([("x", b"content")])[:-1], zip_of([("x", b"content")])[:40], b"PK\x03\x04",
        zip_of([("x", b"content")]).replace(b"x", b"y", 1),
    ],
)  # fmt: skip
def test_a_zip_that_is_damaged_or_leads_elsewhere_is_refused(place, packed):
    assert refusal(*place(packed)).startswith("ARCHIVE cannot be unpacked: ")


def test_rights_owners_and_times_of_members_are_not_taken_over(place):
    archive, root = place(tar_of([("a", b"1")]))
    unpack(archive, root)
    found, own = (root / "a").stat(), archive.stat()
    assert (found.st_mode, found.st_uid) == (own.st_mode, own.st_uid)
    assert found.st_mtime >= int(own.st_mtime)


@pytest.mark.parametrize(
    ("more", "inside", "count"),
    [(["other/data/x"], "*/data", 2), (["other/data"], "other/data", 1), ([], "data", 0)],
)
def test_an_archive_without_that_folder_or_with_two_of_them_is_refused(place, message, more, inside, count):
    members = [*MEMBERS, *((name, b"") for name in more)]
    message(refusal(*place(tar_of(members)), inside=inside), "ARCHIVE", inside, count)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil"])
def test_a_name_that_leads_out_of_the_folder_refuses_the_whole_archive(place, name):
    assert repr(name) in refusal(*place(tar_of([*MEMBERS, (name, b"2")])), inside="*/data")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_plain_file_or_folder_is_refused(place, kind):
    assert refusal(*place(tar_of([("x", b"")], kind=kind))).startswith("ARCHIVE cannot be unpacked: ")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [-512, 2**33, 2**60, 2**80])
def test_a_header_of_absurd_size_is_refused(place, kind, size):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    packed = info.tobuf(tarfile.GNU_FORMAT) + bytes(20_000_000)
    for content in (packed, gzip.compress(packed, 1)):
        assert refusal(*place(content)).startswith("ARCHIVE cannot be unpacked: ")


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_truncated_archive_is_refused_wherever_it_ends(place, pack):
    members = [("a", b"1" * 600), ("b", bytes(range(256)) * 9)]
    packed = pack(tar_of(members))
    whole = 3 * 512 + 6 * 512 if pack is bytes else len(packed)  # a tar is padded with zeros
    for length in [*range(0, whole - 1, max(1, whole // 40)), whole - 1]:
        assert "ARCHIVE cannot be unpacked: " in refusal(*place(packed[:length]))


def test_a_damaged_header_in_the_middle_does_not_end_a_tar(place, message):
    packed = bytearray(tar_of([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    packed[1024] ^= 1
    joined = tar_of([("a", b"1")]) + tar_of([("b", b"2")])
    for each in (packed, joined, gzip.compress(joined)):
        message(refusal(*place(each)), 1024)


def test_the_checksum_at_the_end_of_a_compressed_tar_is_looked_at(place):
    packed = bytearray(gzip.compress(tar_of([("a", b"1")])))
    packed[-5] ^= 1
    assert "CRC check failed" in refusal(*place(packed))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04", b"x" * 5000])
def test_what_is_no_archive_is_refused(place, content):
    assert refusal(*place(content)).startswith("ARCHIVE cannot be unpacked: ")


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_a_target_that_exists_is_left_alone(place, make, message):
    archive, root = place(tar_of(MEMBERS))
    root.parent.mkdir()
    getattr(root, make)()
    with pytest.raises(InputError) as caught:
        unpack(archive, root)
    message(caught.value, root, archive)
    assert [*root.parent.iterdir()] == [root]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_nothing_is_left_after_an_interrupt_or_on_a_full_disk(place, error):
    archive, root = place(tar_of(MEMBERS))

    def interrupt(size):
        raise error(28, "No space left on device")

    with pytest.raises(error):
        unpack(archive, root, progress=interrupt)
    assert [*root.parent.iterdir()] == []


def test_the_folder_gets_its_name_when_it_is_checked_and_added_to_and_on_the_disk(place, monkeypatch):
    archive, root = place(tar_of(MEMBERS))
    (root.parent / ".root.partial" / "data").mkdir(parents=True)  # of a killed process
    (root.parent / ".root.partial" / "data" / "old").touch()
    synced = []
    monkeypatch.setattr(os, "sync", lambda: synced.append((root.exists(), len(found(root.parent)))))
    unpack(archive, root, inside="*/data", finish=lambda folder: (folder / "more").write_bytes(b"4"))
    assert found(root) == {"a/b.png": b"2" * 9000, "c": b"", "more": b"4"}
    assert synced == [(False, 4)]

    def refuse(folder):
        raise InputError(f"{len(found(folder))} files")

    assert refusal(archive, root.parent / "deeper" / "b", finish=refuse) == "3 files"


def test_too_little_space_is_told_before_anything_is_written(place, monkeypatch):
    archive, root = place(tar_of([("a", bytes(5000))]))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4999))
    with pytest.raises(RunError, match="disk full: 0.0 MB needed"):
        unpack(archive, root, progress=lambda _: pytest.fail("written"))
    assert [*root.parent.iterdir()] == []


PARTS = ["a", "A", "b", "c.png", "..", ".", "", "C:", "\\", "~", "é", "e\u0301", "\0", "x" * 256, " ", "con", "..."]
plain = st.lists(st.sampled_from(["a", "b", "c.png", "é", "d d", "...", "x" * 120]), min_size=1, max_size=4)
names = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), min_size=1, max_size=4)
packers = st.sampled_from([*PACKERS.values()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


def unpacked(folder, content):
    """The files that an archive gives, or None if it is refused; nothing else is left either way."""
    archive, place = folder / "archive", folder / "place"
    archive.write_bytes(content)
    shutil.rmtree(place, ignore_errors=True)
    try:
        unpack(archive, place / "root")
    except InputError:
        assert not place.exists() or not [*place.iterdir()]
        return None
    finally:
        assert {path.name for path in folder.iterdir()} <= {"archive", "place"}
    assert [path.name for path in place.iterdir()] == ["root"]
    assert not any(path.is_symlink() for path in (place / "root").rglob("*"))
    return found(place / "root")


@given(names=st.sets(plain.map("/".join), min_size=1, max_size=6), pack=packers, data=st.data())
def test_plain_files_are_never_refused(folder, names, pack, data):
    files = {f"{name}.txt": data.draw(st.binary(max_size=2000)) for name in sorted(names)}
    assert unpacked(folder, pack(tar_of(files.items()))) == files


edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 600), st.binary(max_size=12)), max_size=3)


@given(members=st.lists(st.tuples((plain | names).map("/".join), st.binary(max_size=1500)), max_size=6), edits=edits)
def test_any_members_are_unpacked_inside_their_folder_or_not_at_all(folder, members, edits):
    try:
        content = tar_of(members)
    except (UnicodeEncodeError, ValueError):
        return  # no such archive can be written
    for place, removed, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    unpacked(folder, content)
