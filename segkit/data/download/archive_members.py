"""Members of tar and zip archives, as the archives describe them: nothing of it is believed yet."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

CHUNK = 65_536  # bytes at a time; also the longest header of a member
_ENTRY = 400  # bytes that a member may take in the directory of a zip archive, on average
_PADDING = 10_000_000  # zero bytes that may follow the end of a tar
_TAR_KINDS = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link", tarfile.FIFOTYPE: "a pipe", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
}  # fmt: skip
_ZIP_KINDS = {0: "", stat.S_IFREG: "", stat.S_IFDIR: "folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe"}


class Member(NamedTuple):
    """A member as the archive describes it; `kind` is `file`, `folder`, or what it is otherwise."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]
    parts: tuple[str, ...] = ()


class _Bounded(io.RawIOBase):
    """A stream that gives out at most so much at once: whoever asks for more believed a length in a header."""

    def __init__(self, stream: IO[bytes], largest: int):
        self.stream, self.largest, self.last = stream, largest, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.largest:
            size = self.largest + 1
        self.last = self.stream.read(size)
        if len(self.last) > self.largest:
            raise ValueError(f"a header of more than {self.largest} bytes")
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == io.SEEK_SET and not 0 <= offset < 2**63:
            raise ValueError("a header points outside")
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def seekable(self) -> bool:
        return True


@contextmanager
def opened(archive: Path, max_members: int) -> Iterator[Iterator[Member]]:
    """The members of an archive, told by its content; their content can be read while the next one is not asked for.

    Raises:
        ValueError, OSError and the errors of tarfile, zipfile, zlib and lzma: if it is damaged, or of another kind.
    """
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    with archive.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield _zip_members(_Bounded(file, max(2 * CHUNK, _ENTRY * max_members)))
            return
        opener = next((opener for start, opener in openers.items() if head.startswith(start)), None)
        if opener is None and head[257:262] != b"ustar":
            raise ValueError(f"it begins with {head[:16]!r}" if head else "it is empty")
        with opener(file) if opener else file as stream:
            yield _tar_members(_Bounded(stream, CHUNK))


def _tar_members(stream: _Bounded) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for info in tar:
            kind = "a sparse file" if info.issparse() else _TAR_KINDS.get(info.type, f"of type {info.type!r}")
            yield Member(info.name, kind, info.size if kind == "file" else 0, lambda i=info: _tar_file(tar, i))
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # tarfile would keep them all
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"it is truncated or damaged at byte {tar.offset}")
        padding = 0
        while chunk := stream.read(CHUNK):  # to its end, where compressed files have their checksum
            padding += len(chunk)
            if chunk.strip(b"\0") or padding > _PADDING:
                raise ValueError("more than padding follows its end")


def _tar_file(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(tarfile.data_filter(info, "."))  # the filter is a second line behind our own checks
    assert file is not None
    return file


def _zip_members(stream: _Bounded) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as zip:  # pyright: ignore[reportArgumentType]
        for info in zip.infolist():
            name = info.orig_filename
            kind = _ZIP_KINDS.get(stat.S_IFMT(info.external_attr >> 16), "a device")
            if info.flag_bits & 1:
                kind = "encrypted"
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                kind = f"compressed by method {info.compress_type}"
            yield Member(
                name, kind or ("folder" if name.endswith("/") else "file"), info.file_size, lambda i=info: zip.open(i)
            )
