"""Whatever an archive holds, exactly its files are unpacked, or nothing is. `pytest --hypothesis-profile=search` looks
longer."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import warnings
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.data.download.archive import unpack
from segkit.errors import InputError

PARTS = ["a", "A", "b", "c.png", "..", ".", "", "C:", "\\", "~", "é", "e\u0301", "\0", "x" * 256, " ", "con", "..."]
names = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), min_size=1, max_size=4).map("/".join)
plain = st.lists(st.sampled_from(["a", "b", "c.png", "é", "d d", "...", "x" * 120]), min_size=1, max_size=4).map(
    "/".join
)
members = st.lists(
    st.tuples(plain | names, st.sampled_from(["file"] * 6 + ["folder", "link"]), st.binary(max_size=1500)), max_size=6
)
packers = st.sampled_from(["tar", "pax", "gz", "bz2", "xz", "zip", "stored"])
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 600), st.binary(max_size=12)), min_size=1, max_size=3)
COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
TYPES = {"file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}


def packed(members, packer):
    stream = io.BytesIO()
    if packer in ("zip", "stored"):
        with zipfile.ZipFile(stream, "w") as zip, warnings.catch_warnings(action="ignore"):  # of names that repeat
            for name, kind, content in members:
                info = zipfile.ZipInfo("name")
                info.filename = info.orig_filename = name + "/" * (kind == "folder")
                info.external_attr = 0o120777 << 16 if kind == "link" else 0
                info.compress_type = zipfile.ZIP_STORED if packer == "stored" else zipfile.ZIP_DEFLATED
                zip.writestr(info, b"" if kind == "folder" else content)
    else:
        with tarfile.open(
            fileobj=stream, mode="w", format=tarfile.PAX_FORMAT if packer == "pax" else tarfile.GNU_FORMAT
        ) as tar:
            for name, kind, content in members:
                info = tarfile.TarInfo(name)
                info.type, info.size = TYPES[kind], len(content) if kind == "file" else 0
                tar.addfile(info, io.BytesIO(content))
    return COMPRESS.get(packer, bytes)(stream.getvalue())


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
    found = [path for path in (place / "root").rglob("*") if not path.is_dir() or path.is_symlink()]
    assert all(path.is_file() and not path.is_symlink() for path in found)
    return {path.relative_to(place / "root").as_posix(): path.read_bytes() for path in found}


@given(members=members, packer=packers)
def test_any_members_are_unpacked_exactly_or_not_at_all(folder, members, packer):
    try:
        content = packed(members, packer)
    except (UnicodeEncodeError, ValueError):
        return  # no such archive can be written
    found = unpacked(folder, content)
    if found is not None:
        zipped = packer in ("zip", "stored")  # there, a name that ends in / is a folder; in a tar, a name ends with NUL
        files = [
            (name.partition("\0")[0], data)
            for name, kind, data in members
            if kind == "file" and not (zipped and name.endswith("/"))
        ]
        expected = {"/".join(part for part in name.split("/") if part not in ("", ".")): data for name, data in files}
        assert found == expected


@given(names=st.sets(plain.map(lambda name: f"{name}.txt"), min_size=1, max_size=6), packer=packers, data=st.data())
def test_plain_files_are_never_refused(folder, names, packer, data):
    files = {name: data.draw(st.binary(max_size=2000)) for name in sorted(names)}
    assert unpacked(folder, packed([(name, "file", content) for name, content in files.items()], packer)) == files


@given(packer=packers, edits=edits)
def test_an_archive_that_was_changed_anywhere_is_unpacked_or_refused(folder, packer, edits):
    content = packed(
        [("a/b.txt", "file", bytes(range(256)) * 4), ("a/" + "long" * 40, "file", b"1" * 700), ("d", "folder", b"")],
        packer,
    )
    for place, removed, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    unpacked(folder, content)


@given(
    edits=edits, packer=st.sampled_from(["tar", "pax", "zip"]), compress=st.sampled_from([*COMPRESS.values(), bytes])
)
def test_an_archive_that_was_changed_before_it_was_compressed_is_unpacked_or_refused(folder, edits, packer, compress):
    content = packed([("é/" + "long" * 40, "file", b"1" * 700), ("d", "folder", b"")], packer)
    for place, removed, inserted in edits:
        at = int(place * 2000)
        content = content[:at] + inserted + content[at + removed :]
    unpacked(folder, compress(content))
