"""Archives that someone else made: checked whole, then unpacked whole or not at all."""

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from segkit.errors import InputError

MAX_BYTES = 200_000_000_000
MAX_MEMBERS = 500_000
_MAX_RATIO = 1_000  # of bytes unpacked to bytes of the archive
_SMALL = 10_000_000  # bytes that may be unpacked whatever the ratio
_MAX_NAME, _MAX_PART = 1_000, 255  # bytes of UTF-8
_CHUNK = 65_536  # bytes at a time; also the longest header of a member
_ENTRY = 400  # bytes that a member may take in the directory of a zip archive, on average
_FETCH_AGAIN = "Nothing was unpacked. Fetch it again, from its publisher."
_TAR_KINDS = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link", tarfile.FIFOTYPE: "a pipe", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
}  # fmt: skip
_ZIP_KINDS = {0: "", stat.S_IFREG: "", stat.S_IFDIR: "folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe"}
_DAMAGE = (  # OSError without a number is gzip's and bzip2's
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RecursionError, NotImplementedError,
    struct.error,
)  # fmt: skip


def unpack(
    archive: Path,
    root: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Unpacks a tar (plain, gzip, bzip2, xz) or zip archive into the new folder `root`.

    Every member is checked before anything is written, and again when it is written. Until all is there, it is in a hidden folder beside
    `root`, which is removed after any failure. Of members, names and contents are taken, never rights, owners or times.

    Args:
        archive: told by its content, not by its name.
        root: does not exist yet.
        max_bytes: largest sum of the sizes of all files.
        max_members: most files and folders.
        progress: called with the number of bytes written so far.
    Raises:
        InputError: if `root` exists, there is too little space, the archive is damaged, or a member is no plain file or folder inside
            `root`, is there twice, is encrypted or too large.
        OSError: if writing fails.
    """
    if os.path.lexists(root):
        raise InputError(f"{root} exists; expected a folder to make. {archive} was not unpacked. Remove the folder, or choose another.")
    _require_readable(archive)
    checked = _Checked(archive, max_bytes, max_members)
    checked.each(lambda _: None)
    root.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root.parent).free
    if checked.bytes > free:
        raise InputError(f"{archive} unpacks to {checked.bytes} bytes, and {root.parent} has {free}. Nothing was unpacked. Make space.")
    partial = root.with_name(f".{root.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        written = _Written(partial, progress)
        _Checked(archive, max_bytes, max_members).each(written.add)
        partial.rename(root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class _Member(NamedTuple):
    """A member as the archive describes it; `kind` is `file`, `folder`, or what it is otherwise."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]
    parts: tuple[str, ...] = ()


class _Refused(Exception):
    """What is wrong with a member."""


class _Checked:
    """One pass over an archive, in which every member is checked before it is given out."""

    def __init__(self, archive: Path, max_bytes: int, max_members: int):
        self.archive, self.max_bytes, self.max_members = archive, max_bytes, max_members
        self.limit = max(_SMALL, _MAX_RATIO * archive.stat().st_size)
        self.count, self.bytes = 0, 0
        self.kinds: dict[tuple[str, ...], tuple[str, str]] = {}  # folded parts -> kind and name of the member, or of one below

    def each(self, use: Callable[[_Member], None]) -> None:
        """Calls `use` with each member that was checked.

        Raises:
            InputError: if the archive is damaged, or a member is refused, by the checks or by `use`.
        """
        name = ""
        try:
            with _opened(self.archive, self.max_members) as members:
                for member in members:
                    name = member.name
                    use(self.check(member))
            if not self.count:
                raise InputError(f"{self.archive} holds no member; expected an archive of files. {_FETCH_AGAIN}")
        except _Refused as reason:
            raise InputError(f"{self.archive}: member {_show(name)} {reason}. {_FETCH_AGAIN}") from None
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:  # not of the archive, but of a disk
                raise
            place = f" after member {_show(name)}" if name else ""
            raise InputError(f"{self.archive} cannot be read{place} ({error}); expected a tar or zip archive. {_FETCH_AGAIN}") from None

    def check(self, member: _Member) -> _Member:
        parts = _parts(member.name)
        self.count += 1
        self.bytes += member.size
        if member.kind not in ("file", "folder"):
            raise _Refused(f"is {member.kind}; expected a file or folder")
        if not parts and member.kind == "file":
            raise _Refused("has no name")
        if member.kind == "folder" and member.size:
            raise _Refused(f"is a folder of {member.size} bytes; expected a folder or a file")
        if self.count > self.max_members:
            raise _Refused(f"is one more than {self.max_members}")
        if member.size < 0 or self.bytes > min(self.max_bytes, self.limit):
            limit = f"{self.max_bytes} bytes" if self.max_bytes < self.limit else f"{_MAX_RATIO} times the archive"
            raise _Refused(f"makes it unpack to {self.bytes} bytes; expected at most {limit}")
        self.note(member, parts)
        return member._replace(parts=parts)

    def note(self, member: _Member, parts: tuple[str, ...]) -> None:
        """Remembers the member and the folders above it; refuses what meets another on a disk that does not tell case apart."""
        folded = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        for depth in range(1, len(folded)):
            kind, other = self.kinds.setdefault(folded[:depth], ("above", member.name))
            if kind == "file":
                raise _Refused(f"is in a folder that is a file, {_show(other)}")
        kind, other = self.kinds.get(folded, ("", ""))
        if kind in ("file", "folder"):
            raise _Refused(f"is there twice, also as {_show(other)}")
        if kind == "above" and member.kind == "file":
            raise _Refused(f"is a file, and {_show(other)} is in it")
        self.kinds[folded] = (member.kind, member.name)


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a member's name."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise _Refused("has a name that is no UTF-8 text") from None
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise _Refused("has a control character in its name")
    if "\\" in name:
        raise _Refused("has a backslash in its name")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise _Refused("has an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _Refused("leads out of its folder by '..'")
    if length > _MAX_NAME or any(len(part.encode()) > _MAX_PART for part in parts):
        raise _Refused(f"has a name of more than {_MAX_NAME} bytes, or {_MAX_PART} between slashes")
    return parts


class _Written:
    """Members below a folder, as they are written."""

    def __init__(self, folder: Path, progress: Callable[[int], None] | None):
        self.folder, self.progress, self.bytes = folder, progress, 0

    def add(self, member: _Member) -> None:
        path = self.folder.joinpath(*member.parts)
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        left = member.size
        with member.open() as source, path.open("xb") as target:
            while left >= 0 and (chunk := source.read(_CHUNK)):
                target.write(chunk)
                left -= len(chunk)
                self.bytes += len(chunk)
                if self.progress is not None:
                    self.progress(self.bytes)
        if left:
            raise _Refused(f"holds {'more' if left < 0 else 'less'} than the {member.size} bytes that it declares")


def _require_readable(archive: Path) -> None:
    try:
        with archive.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{archive} is no ordinary file; expected a tar or zip archive. Check the path.")
    except FileNotFoundError:
        raise InputError(f"{archive} does not exist; expected a tar or zip archive. Check the path.") from None
    except OSError as error:
        raise InputError(f"{archive} cannot be read: {error.strerror}; expected a tar or zip archive. Check the path.") from None


def _show(name: str) -> str:
    """A member's name in a message, whatever it holds."""
    return ascii(name if len(name) <= 200 else f"{name[:197]}...")


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
def _opened(archive: Path, max_members: int) -> Iterator[Iterator[_Member]]:
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    with archive.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield _zip_members(_Bounded(file, max(2 * _CHUNK, _ENTRY * max_members)))
            return
        opener = next((opener for start, opener in openers.items() if head.startswith(start)), None)
        if opener is None and head[257:262] != b"ustar":
            raise ValueError(f"it begins with {head[:16]!r}" if head else "it is empty")
        with opener(file) if opener else file as stream:
            yield _tar_members(_Bounded(stream, _CHUNK))


def _tar_members(stream: _Bounded) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for info in tar:
            kind = "a sparse file" if info.issparse() else _TAR_KINDS.get(info.type, f"of type {info.type!r}")
            yield _Member(info.name, kind, info.size if kind == "file" else 0, lambda i=info: _tar_file(tar, i))
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # tarfile would keep them all
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"it is truncated or damaged at byte {tar.offset}")
        padding = 0
        while chunk := stream.read(_CHUNK):  # to its end, where compressed files have their checksum
            padding += len(chunk)
            if chunk.strip(b"\0") or padding > _SMALL:
                raise ValueError("more than padding follows its end")


def _tar_file(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(tarfile.data_filter(info, "."))  # the filter is a second line behind our own checks
    assert file is not None
    return file


def _zip_members(stream: _Bounded) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as zip:  # pyright: ignore[reportArgumentType]
        for info in zip.infolist():
            name = info.orig_filename
            kind = _ZIP_KINDS.get(stat.S_IFMT(info.external_attr >> 16), "a device")
            if info.flag_bits & 1:
                kind = "encrypted"
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                kind = f"compressed by method {info.compress_type}"
            yield _Member(name, kind or ("folder" if name.endswith("/") else "file"), info.file_size, lambda i=info: zip.open(i))
