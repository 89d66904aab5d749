"""Archives of names and contents, and what becomes of them."""

import io
import tarfile
import zipfile

import pytest

from segkit.data.download.archive import unpack
from segkit.errors import InputError


def tar_of(members, *, kind=None) -> bytes:
    """A tar archive of (name, content) pairs; a name that ends in / is a folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name.rstrip("/") or name)
            info.type = kind or (tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
            info.size, info.linkname = len(content), "elsewhere" if kind else ""
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zip_of(members, *, compression=zipfile.ZIP_DEFLATED, mode=0) -> bytes:
    """A zip archive of (name, content) pairs."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as zip:
        for name, content in members:
            info = zipfile.ZipInfo("name")
            info.filename = info.orig_filename = name
            info.external_attr, info.compress_type = mode << 16, compression
            zip.writestr(info, content)
    return packed.getvalue()


def refusal(archive, root, **options):
    """The message; nothing was left beside the folder, nor above it."""
    before = {path: path.read_bytes() for path in archive.parent.iterdir() if path.is_file()}
    with pytest.raises(InputError) as caught:
        unpack(archive, root, **options)
    assert not root.parent.exists() or not [*root.parent.iterdir()]
    assert {path: path.read_bytes() for path in archive.parent.iterdir() if path.is_file()} == before
    return str(caught.value).replace(str(archive), "ARCHIVE")


def found(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
