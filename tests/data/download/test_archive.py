"""An archive is unpacked whole, inside its folder, or refused with nothing left behind."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile

import pytest
from made_up_archives import found, refusal, tar_of, zip_of

from segkit.data.download import archive as archive_module
from segkit.data.download.archive import unpack
from segkit.errors import InputError

FETCH_AGAIN = "Nothing was unpacked. Fetch it again, from its publisher."
FILES = {"data/train.txt": b"a b\n", "data/images/a.png": bytes(range(256)) * 700, "data/images/empty": b""}
TAR_TYPES = {
    "a symbolic link": tarfile.SYMTYPE, "a hard link": tarfile.LNKTYPE, "a device": tarfile.CHRTYPE, "a pipe": tarfile.FIFOTYPE,
    "of type b'7'": tarfile.CONTTYPE, "a sparse file": tarfile.GNUTYPE_SPARSE,
}  # fmt: skip


@pytest.mark.parametrize("packed", [
    tar_of(FILES.items()), gzip.compress(tar_of(FILES.items())), bz2.compress(tar_of(FILES.items())), lzma.compress(tar_of(FILES.items())),
    zip_of(FILES.items()), zip_of(FILES.items(), compression=zipfile.ZIP_STORED),
], ids=["tar", "gz", "bz2", "xz", "zip", "stored"])  # fmt: skip
def test_every_kind_of_archive_is_unpacked_whole(place, packed):
    archive, root = place(packed)
    seen = []
    unpack(archive, root, progress=seen.append)
    assert found(root) == FILES
    assert seen == sorted(seen)
    assert seen[-1] == sum(map(len, FILES.values()))
    assert [path.name for path in root.parent.iterdir()] == ["root"]


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_folders_and_names_that_begin_with_a_dot_are_fine(place, pack):
    archive, root = place(pack([("./", b""), ("./a/", b""), ("./a//b.txt", b"x"), ("..c", b"y"), ("empty/", b"")]))
    unpack(archive, root)
    assert found(root) == {"a/b.txt": b"x", "..c": b"y"}
    assert (root / "empty").is_dir()


def test_rights_and_owners_of_members_are_not_taken_over(place):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("a")
        info.mode, info.uid = 0o6777, 1234
        tar.addfile(info)
    archive, root = place(packed.getvalue())
    unpack(archive, root)
    assert (root / "a").stat().st_mode & 0o7000 == 0
    assert (root / "a").stat().st_uid == archive.stat().st_uid


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "leads out of its folder by '..'"),
        ("a/../../evil", "leads out of its folder by '..'"),
        ("/tmp/evil", "has an absolute path"),
        ("C:/evil", "has an absolute path"),
        ("c:evil", "has an absolute path"),
        ("..\\evil", "has a backslash in its name"),
        ("a\nb", "has a control character in its name"),
        ("a" * 256, "has a name of more than 1000 bytes, or 255 between slashes"),
        ("é" * 128, "has a name of more than 1000 bytes, or 255 between slashes"),
        ("a/" * 501 + "b", "has a name of more than 1000 bytes, or 255 between slashes"),
    ],
)
def test_a_name_that_is_no_place_inside_refuses_the_whole_archive(place, pack, name, reason):
    message = refusal(*place(pack([("good", b"1"), (name, b"2")])))
    shown = ascii(name if len(name) <= 200 else f"{name[:197]}...")
    assert message == f"ARCHIVE: member {shown} {reason}. {FETCH_AGAIN}"


@pytest.mark.parametrize("kind", TAR_TYPES)
def test_a_tar_member_that_is_no_plain_file_or_folder_is_refused(place, kind):
    message = refusal(*place(tar_of([("x", b"")], kind=TAR_TYPES[kind])))
    assert message == f"ARCHIVE: member 'x' is {kind}; expected a file or folder. {FETCH_AGAIN}"


@pytest.mark.parametrize(
    ("mode", "kind"), [(0o120777, "a symbolic link"), (0o010644, "a pipe"), (0o020644, "a device")]
)
def test_a_zip_member_that_is_no_plain_file_or_folder_is_refused(place, mode, kind):
    message = refusal(*place(zip_of([("x", b"/etc/passwd")], mode=mode)))
    assert message == f"ARCHIVE: member 'x' is {kind}; expected a file or folder. {FETCH_AGAIN}"


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a/x", "a/x"], "member 'a/x' is there twice, also as 'a/x'"),
        (["a/x", "A/X"], "member 'A/X' is there twice, also as 'a/x'"),
        (["é", "e\u0301"], "member 'e\\u0301' is there twice, also as '\\xe9'"),
        (["a/x", "./a//x"], "member './a//x' is there twice, also as 'a/x'"),
        (["a", "a/x"], "member 'a/x' is in a folder that is a file, 'a'"),
        (["a/x", "a"], "member 'a' is a file, and 'a/x' is in it"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_meet_in_one_place_are_refused(place, pack, names, reason):
    assert refusal(*place(pack([(name, b"") for name in names]))) == f"ARCHIVE: {reason}. {FETCH_AGAIN}"


def test_an_encrypted_member_is_refused(place):
    packed = bytearray(zip_of([("x", b"secret")]))
    packed[6] |= 1  # flag in the member's header
    packed[packed.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    assert refusal(*place(packed)) == f"ARCHIVE: member 'x' is encrypted; expected a file or folder. {FETCH_AGAIN}"


def test_a_name_with_a_nul_is_refused(place):
    packed = zip_of([("goodZ../evil", b"")]).replace(b"goodZ", b"good\0")
    assert refusal(*place(packed)).startswith("ARCHIVE: member 'good\\x00../evil' has a control character in its name.")


# --- bombs ---


@pytest.mark.parametrize("pack", [lambda m: gzip.compress(tar_of(m)), zip_of])
def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused(place, pack):
    message = refusal(*place(pack([("a", bytes(10_000_000)), ("zeros", bytes(4_000_000))])))
    assert "member 'zeros' makes it unpack to 14000000 bytes; expected at most 1000 times the archive." in message


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_more_bytes_or_members_than_allowed_are_refused(place, pack):
    packed = pack([(f"{index}", bytes(100)) for index in range(5)])
    unpack(place(packed)[0], place(packed)[1].with_name("fits"), max_bytes=500, max_members=5)
    (place(packed)[1].with_name("fits")).rename(place(packed)[0].parent / "aside")
    message = refusal(*place(packed), max_bytes=499)
    assert message == f"ARCHIVE: member '4' makes it unpack to 500 bytes; expected at most 499 bytes. {FETCH_AGAIN}"
    assert refusal(*place(packed), max_members=4) == f"ARCHIVE: member '4' is one more than 4. {FETCH_AGAIN}"


def test_a_declared_size_is_not_believed(place):
    packed = bytearray(zip_of([("x", bytes(5000))]))
    entry = packed.index(b"PK\x01\x02")
    for place_of_size in (22, entry + 24):
        packed[place_of_size : place_of_size + 4] = struct.pack("<I", 10)
    assert "ARCHIVE cannot be read after member 'x' (Bad CRC-32" in refusal(*place(packed))


def test_a_tar_header_that_declares_a_terabyte_takes_no_memory(place):
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 2**33 - 1
        packed = gzip.compress(info.tobuf() + bytes(20_000_000))
        assert "(a header of more than 65536 bytes); expected" in refusal(*place(packed))


@pytest.mark.parametrize("size", [-1, -512, 2**60])
def test_a_tar_member_of_absurd_size_is_refused(place, size):
    info = tarfile.TarInfo("x")
    info.size = size
    message = refusal(*place(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    assert "ARCHIVE: member 'x' makes it unpack to" in message


# --- damage ---


@pytest.mark.parametrize("pack", [
    tar_of, lambda m: gzip.compress(tar_of(m)), lambda m: bz2.compress(tar_of(m)), lambda m: lzma.compress(tar_of(m)), zip_of,
], ids=["tar", "gz", "bz2", "xz", "zip"])  # fmt: skip
def test_a_truncated_archive_is_refused_wherever_it_ends(place, pack):
    packed = pack([("a", b"1" * 600), ("b", bytes(range(256)) * 9)])
    whole = 4 * 512 + 5 * 512 + 512 if pack is tar_of else len(packed)  # a tar is padded with zeros
    for length in [*range(0, whole - 1, max(1, whole // 40)), whole - 1]:
        if not (pack is tar_of and length == whole - 512):
            assert "ARCHIVE cannot be read" in refusal(*place(packed[:length]))


def test_a_damaged_header_in_the_middle_does_not_end_a_tar(place):
    packed = bytearray(tar_of([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    packed[1024] ^= 1
    assert refusal(*place(packed)).startswith(
        "ARCHIVE cannot be read after member 'a' (it is truncated or damaged at byte 1024);"
    )
    joined = tar_of([("a", b"1")]) + tar_of([("b", b"2")])
    assert refusal(*place(joined)).startswith(
        "ARCHIVE cannot be read after member 'a' (more than padding follows its end);"
    )


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>Log in</title>", b"Rar!\x1a\x07\x01\0", b"x" * 5000])
def test_what_is_no_archive_is_refused(place, content):
    assert refusal(*place(content)).startswith(
        f"ARCHIVE cannot be read ({f'it begins with {content[:16]!r}' if content else 'it is empty'})"
    )


@pytest.mark.parametrize("packed", [tar_of([]), zip_of([])])
def test_an_archive_of_nothing_is_refused(place, packed):
    assert refusal(*place(packed)).startswith("ARCHIVE")


def test_a_missing_archive_and_a_folder_are_refused(tmp_path):
    archive = tmp_path / "a.tar"
    assert (
        refusal(archive, tmp_path / "x" / "r")
        == "ARCHIVE does not exist; expected a tar or zip archive. Check the path."
    )
    archive.mkdir()
    assert refusal(archive, tmp_path / "x" / "r").startswith("ARCHIVE cannot be read: Is a directory; expected")


# --- the folder ---


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_a_target_that_exists_is_left_alone(place, make):
    archive, root = place(tar_of(FILES.items()))
    root.parent.mkdir()
    getattr(root, make)()
    with pytest.raises(InputError) as caught:
        unpack(archive, root)
    assert str(caught.value) == (
        f"{root} exists; expected a folder to make. {archive} was not unpacked. Remove the folder, or choose another."
    )
    assert [*root.parent.iterdir()] == [root]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_nothing_is_left_after_an_interrupt(place, error):
    archive, root = place(tar_of(FILES.items()))

    def interrupt(written):
        raise error(28, "No space left on device")

    with pytest.raises(error):
        unpack(archive, root, progress=interrupt)
    assert [*root.parent.iterdir()] == []


def test_an_archive_that_changes_between_check_and_unpacking_is_checked_again(place, monkeypatch):
    archive, root = place(tar_of([("a", b"1")]))
    disk_usage = archive_module.shutil.disk_usage

    def swap(path):
        archive.write_bytes(tar_of([("../evil", b"1")]))
        return disk_usage(path)

    monkeypatch.setattr(archive_module.shutil, "disk_usage", swap)
    with pytest.raises(InputError, match="leads out of its folder"):
        unpack(archive, root)
    assert [*root.parent.iterdir()] == []
    assert not (root.parent.parent / "evil").exists()
