"""Whatever an archive holds, exactly its files are unpacked, inside their folder, or nothing is. `pytest
--hypothesis-profile=search` looks longer."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import struct
import tarfile
import warnings
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.data.download import archive as archive_module
from segkit.data.download.archive import unpack
from segkit.errors import InputError, RunError

FILES = {"data/train.txt": b"a b\n", "data/images/a.png": bytes(range(256)) * 700, "data/images/empty": b""}
SPECIAL = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
MEMBERS = [("repo-1/", b""), ("repo-1/README", b"1"), ("repo-1/data/a/b.png", b"2"), ("repo-1/data/c", b"3")]


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


def zip_of(members, *, compression=zipfile.ZIP_DEFLATED, mode=0) -> bytes:
    """A zip archive of (name, content) pairs."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as zip, warnings.catch_warnings(action="ignore"):  # of equal names
        for name, content in members:
            info = zipfile.ZipInfo("name")
            info.filename = info.orig_filename = name
            info.external_attr, info.compress_type = mode << 16, compression
            zip.writestr(info, content)
    return packed.getvalue()


PACKERS = {
    "tar": tar_of,
    "gnu": lambda members: tar_of(members, format=tarfile.GNU_FORMAT),
    "gz": lambda members: gzip.compress(tar_of(members)),
    "bz2": lambda members: bz2.compress(tar_of(members)),
    "xz": lambda members: lzma.compress(tar_of(members)),
    "zip": zip_of,
    "stored": lambda members: zip_of(members, compression=zipfile.ZIP_STORED),
}


@pytest.fixture
def place(tmp_path):
    """`place(content)`: an archive's path, and the folder to make."""

    def place(content):
        (tmp_path / "archive").write_bytes(content)
        return tmp_path / "archive", tmp_path / "target" / "root"

    return place


def refusal(archive, root, **options):
    """The message; nothing was left beside the folder, nor above it."""
    before = {path: path.read_bytes() for path in archive.parent.iterdir() if path.is_file()}
    with pytest.raises(InputError) as caught:
        unpack(archive, root, **options)
    assert not root.parent.exists() or not [*root.parent.iterdir()]
    assert {path: path.read_bytes() for path in archive.parent.iterdir() if path.is_file()} == before
    return str(caught.value).replace(str(archive), "ARCHIVE")


def found(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# --- what is right ---


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_every_kind_of_archive_is_unpacked_whole(place, pack):
    archive, root = place(pack(FILES.items()))
    seen = []
    unpack(archive, root, progress=seen.append)
    assert found(root) == FILES
    assert seen == [len(content) for content in FILES.values()]
    assert [path.name for path in root.parent.iterdir()] == ["root"]


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_folders_and_names_that_begin_with_a_dot_are_fine(place, pack):
    archive, root = place(pack([("./", b""), ("./a/", b""), ("./a//b.txt", b"x"), ("..c", b"y"), ("empty/", b"")]))
    unpack(archive, root)
    assert found(root) == {"a/b.txt": b"x", "..c": b"y"}
    assert (root / "empty").is_dir()


def test_rights_owners_and_times_of_members_are_not_taken_over(place):
    archive, root = place(tar_of([("a", b"1")]))
    unpack(archive, root)
    found, own = (root / "a").stat(), archive.stat()
    assert (found.st_mode, found.st_uid) == (own.st_mode, own.st_uid)
    assert found.st_mtime >= int(own.st_mtime)


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("inside", ["repo-1/data", "*/data"])
def test_a_folder_of_an_archive_becomes_the_root(place, pack, inside):
    archive, root = place(pack(MEMBERS))
    unpack(archive, root, inside=inside)
    assert found(root) == {"a/b.png": b"2", "c": b"3"}
    assert [path.name for path in root.parent.iterdir()] == ["root"]


@pytest.mark.parametrize(
    ("more", "inside", "count"),
    [(["other/data/x"], "*/data", 2), (["other/data"], "other/data", 1), ([], "data", 0)],
)
def test_an_archive_without_that_folder_or_with_two_of_them_is_refused(place, message, more, inside, count):
    members = [*MEMBERS, *((name, b"") for name in more)]
    message(refusal(*place(tar_of(members)), inside=inside), "ARCHIVE", inside, count)


def test_a_folder_of_an_archive_is_refused_with_what_is_wrong_elsewhere(place, message):
    message(refusal(*place(tar_of([*MEMBERS, ("../evil", b"")])), inside="*/data"), "ARCHIVE", "../evil")


# --- members that are refused ---


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "C:/evil", "c:evil", "..\\evil"])
def test_a_name_that_leads_out_of_the_folder_refuses_the_whole_archive(place, message, pack, name):
    message(refusal(*place(pack([("good", b"1"), (name, b"2")]))), "ARCHIVE", ascii(name))


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize(
    "names",
    ["a/x a/x", "a/x A/X", "é e\u0301", "a/x ./a//x", "a a/x", "a/x a", ".", ""],
)
def test_a_name_in_the_place_of_another_member_refuses_the_whole_archive(place, message, pack, names):
    members = [("good", b"1"), *((name, b"2") for name in names.split(" "))]
    message(refusal(*place(pack(members))), "ARCHIVE", ascii(members[-1][0]))


@pytest.mark.parametrize("packed", [
    *(tar_of([("x", b"")], kind=kind) for kind in SPECIAL),
    *(zip_of([("x", b"/etc/passwd")], mode=mode) for mode in (0o120777, 0o010644, 0o020644)),
])  # fmt: skip
def test_a_member_that_is_no_plain_file_or_folder_is_refused(place, packed, message):
    message(refusal(*place(packed)), "member 'x'")


def test_an_encrypted_member_is_refused(place):
    packed = bytearray(zip_of([("x", b"secret")]))
    packed[6] |= 1  # flag in the member's header
    packed[packed.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    assert "is encrypted, password required" in refusal(*place(packed))


# --- bombs ---


@pytest.mark.parametrize("pack", [PACKERS["gz"], zip_of])
def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused(place, pack, message):
    packed = pack([("a", bytes(10_000_000)), ("zeros", bytes(4_000_000))])
    message(refusal(*place(packed)), "zeros", 14_000_000, 1000 * len(packed))


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize(("limit", "most"), [("MAX_BYTES", 499), ("MAX_MEMBERS", 4)], ids=["bytes", "members"])
def test_more_bytes_or_members_than_allowed_are_refused(place, message, monkeypatch, pack, limit, most):
    packed = pack([(f"{index}", bytes(100)) for index in range(5)])
    monkeypatch.setattr(archive_module, limit, most)
    message(refusal(*place(packed)), "member '4'", most)
    monkeypatch.setattr(archive_module, limit, most + 1)
    unpack(*place(packed))


def test_a_declared_size_is_not_believed(place):
    packed = bytearray(zip_of([("x", bytes(5000))]))
    entry = packed.index(b"PK\x01\x02")
    for place_of_size in (22, entry + 24):
        packed[place_of_size : place_of_size + 4] = struct.pack("<I", 10)
    assert "Bad CRC-32" in refusal(*place(packed))


@pytest.mark.parametrize("size", [-1, -512, 2**60])
def test_a_tar_member_of_absurd_size_is_refused(place, message, size):
    info = tarfile.TarInfo("x")
    info.size = size
    message(refusal(*place(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))), "member 'x'", size)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [2**33, 2**60, 2**80])
def test_a_tar_header_of_absurd_size_is_refused(place, kind, size):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    packed = info.tobuf(tarfile.GNU_FORMAT) + bytes(20_000_000)
    assert "ARCHIVE cannot be unpacked: " in refusal(*place(packed))
    assert "ARCHIVE cannot be unpacked: " in refusal(*place(gzip.compress(packed)))


# --- damage ---


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz", "zip"])
def test_a_truncated_archive_is_refused_wherever_it_ends(place, kind):
    packed = PACKERS[kind]([("a", b"1" * 600), ("b", bytes(range(256)) * 9)])
    whole = 3 * 512 + 6 * 512 if kind == "tar" else len(packed)  # a tar is padded with zeros
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


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"Rar!\x1a\x07\x01\0", b"x" * 5000, tar_of([]), zip_of([])]
)
def test_what_is_no_archive_of_files_is_refused(place, content):
    assert refusal(*place(content)).startswith("ARCHIVE cannot be unpacked: ")


# --- the folder ---


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_a_target_that_exists_is_left_alone(place, make, message):
    archive, root = place(tar_of(FILES.items()))
    root.parent.mkdir()
    getattr(root, make)()
    with pytest.raises(InputError) as caught:
        unpack(archive, root)
    message(caught.value, root, archive)
    assert [*root.parent.iterdir()] == [root]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_nothing_is_left_after_an_interrupt_or_on_a_full_disk(place, error):
    archive, root = place(tar_of(FILES.items()))

    def interrupt(size):
        raise error(28, "No space left on device")

    with pytest.raises(error):
        unpack(archive, root, progress=interrupt)
    assert [*root.parent.iterdir()] == []


def test_what_a_killed_process_left_is_replaced(place):
    archive, root = place(tar_of(FILES.items()))
    (root.parent / ".root.partial" / "data").mkdir(parents=True)
    (root.parent / ".root.partial" / "data" / "old").touch()
    unpack(archive, root)
    assert found(root) == FILES


def test_what_is_unpacked_can_be_checked_and_added_to_before_it_has_its_name(place):
    archive, root = place(tar_of(MEMBERS))

    def finish(folder):
        assert not root.exists()
        (folder / "more").write_bytes(b"4")

    unpack(archive, root, inside="*/data", finish=finish)
    assert found(root) == {"a/b.png": b"2", "c": b"3", "more": b"4"}

    def refuse(folder):
        raise InputError(f"{len(found(folder))} files")

    assert refusal(archive, root.parent / "deeper" / "b", finish=refuse) == "3 files"


def test_every_file_is_on_the_disk_before_the_folder_has_its_name(place, monkeypatch):
    archive, root = place(tar_of(MEMBERS))
    synced = []
    monkeypatch.setattr(os, "sync", lambda: synced.append((root.exists(), len(found(root.parent)))))
    unpack(archive, root)
    assert synced == [(False, 3)]


def test_too_little_space_is_told_before_anything_is_written(place, monkeypatch):
    archive, root = place(tar_of([("a", bytes(5000))]))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4999))
    with pytest.raises(RunError, match="disk full: 0.0 MB needed"):
        unpack(archive, root, progress=lambda _: pytest.fail("written"))
    assert [*root.parent.iterdir()] == []


# --- anything ---

PARTS = ["a", "A", "b", "c.png", "..", ".", "", "C:", "\\", "~", "é", "e\u0301", "\0", "x" * 256, " ", "con", "..."]
names = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), min_size=1, max_size=4).map("/".join)
plain = st.lists(st.sampled_from(["a", "b", "c.png", "é", "d d", "...", "x" * 120]), min_size=1, max_size=4).map(
    "/".join
)
packers = st.sampled_from([*PACKERS.values()])
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 600), st.binary(max_size=12)), min_size=1, max_size=3)


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


@given(members=st.lists(st.tuples(plain | names, st.binary(max_size=1500)), max_size=6), pack=packers)
def test_any_members_are_unpacked_exactly_or_not_at_all(folder, members, pack):
    try:
        content = pack(members)
    except (UnicodeEncodeError, ValueError):
        return  # no such archive can be written
    files = unpacked(folder, content)
    if files is not None:
        given = [(name.partition("\0")[0], data) for name, data in members if not name.endswith("/")]
        expected = {"/".join(part for part in name.split("/") if part not in ("", ".")): data for name, data in given}
        assert files == expected


@given(names=st.sets(plain.map(lambda name: f"{name}.txt"), min_size=1, max_size=6), pack=packers, data=st.data())
def test_plain_files_are_never_refused(folder, names, pack, data):
    files = {name: data.draw(st.binary(max_size=2000)) for name in sorted(names)}
    assert unpacked(folder, pack(files.items())) == files


@given(pack=packers, edits=edits, compress=st.sampled_from([gzip.compress, bz2.compress, lzma.compress, bytes]))
def test_an_archive_that_was_changed_anywhere_is_unpacked_or_refused(folder, pack, edits, compress):
    content = pack([("é/b.txt", bytes(range(256)) * 4), ("a/" + "long" * 40, b"1" * 700), ("d/", b"")])
    for place, removed, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    unpacked(folder, compress(content))
