"""Archives that someone else made: checked whole, then unpacked whole or not at all."""

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

from segkit.data.download.archive_members import CHUNK, Member, opened
from segkit.errors import InputError
from segkit.system.files import require_space, sync_folder

MAX_BYTES = 200_000_000_000
MAX_MEMBERS = 500_000
_MAX_RATIO = 1_000  # of bytes unpacked to bytes of the archive
_SMALL = 10_000_000  # bytes that may be unpacked whatever the ratio
_MAX_NAME, _MAX_PART = 1_000, 255  # bytes of UTF-8
_FETCH_AGAIN = "Nothing was unpacked. Fetch it again, from its publisher."
_DAMAGE = (  # OSError without a number is gzip's and bzip2's
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RecursionError, NotImplementedError,
    struct.error,
)  # fmt: skip


def unpack(
    archive: Path,
    root: Path,
    *,
    inside: str = "",
    finish: Callable[[Path], None] | None = None,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Unpacks a tar (plain, gzip, bzip2, xz) or zip archive into the new folder `root`.

    Every member is checked before anything is written, and again when it is written. Until all is there and on the
    disk, it is in a hidden folder beside `root`, which is removed after any failure. Of members, names and contents are
    taken, never rights, owners or times.

    Args:
        archive: told by its content, not by its name.
        root: does not exist yet.
        inside: folder of the archive that becomes `root`, such as `VOCdevkit/VOC2012`; `*` stands for any one name. All
            members are checked, those below it are written.
        finish: called with the hidden folder once everything is in it; may check it and add to it.
        max_bytes: largest sum of the sizes of all files.
        max_members: most files and folders.
        progress: called with the number of bytes written so far.
    Raises:
        InputError: if `root` exists, the archive is damaged, or a member is no plain file or folder inside
            `root`, is there twice, is encrypted or too large, or none is below `inside`.
        RunError: if there is too little space; nothing was written.
        OSError: if writing fails.
    """
    if os.path.lexists(root):
        raise InputError(
            f"{root} exists; expected a folder to make. {archive} was not unpacked. Remove the folder, or choose another."
        )
    _require_readable(archive)
    checked = _Checked(archive, max_bytes, max_members)
    checked.each(lambda _: None)
    root.parent.mkdir(parents=True, exist_ok=True)
    require_space(root.parent, checked.bytes)
    with _whole(root) as partial:
        written = _Written(partial, inside, progress)
        _Checked(archive, max_bytes, max_members).each(written.add)
        if inside and written.top is None:
            raise InputError(
                f"{archive} holds nothing in a folder {inside}. Nothing was unpacked. Is it the right archive?"
            )
        if finish is not None:
            finish(partial)


@contextmanager
def _whole(root: Path) -> Iterator[Path]:
    """A hidden folder beside `root` that becomes `root` in the end, and is removed after any failure."""
    partial = root.with_name(f".{root.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        _sync(partial)
        partial.rename(root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(root.parent)


def _sync(folder: Path) -> None:
    """Brings all that is below a folder to the disk: after a loss of power, a name would otherwise be there before its
    content."""
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(path))


class _Refused(Exception):
    """What is wrong with a member."""


class _Checked:
    """One pass over an archive, in which every member is checked before it is given out."""

    def __init__(self, archive: Path, max_bytes: int, max_members: int):
        self.archive, self.max_bytes, self.max_members = archive, max_bytes, max_members
        self.limit = max(_SMALL, _MAX_RATIO * archive.stat().st_size)
        self.count, self.bytes = 0, 0
        self.kinds: dict[
            tuple[str, ...], tuple[str, str]
        ] = {}  # folded parts -> kind and name of the member, or of one below

    def each(self, use: Callable[[Member], None]) -> None:
        """Calls `use` with each member that was checked.

        Raises:
            InputError: if the archive is damaged, or a member is refused, by the checks or by `use`.
        """
        name = ""
        try:
            with opened(self.archive, self.max_members) as members:
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
            raise InputError(
                f"{self.archive} cannot be read{place} ({error}); expected a tar or zip archive. {_FETCH_AGAIN}"
            ) from None

    def check(self, member: Member) -> Member:
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

    def note(self, member: Member, parts: tuple[str, ...]) -> None:
        """Remembers the member and the folders above it; refuses what meets another on a disk that does not tell case
        apart."""
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
    """Members below a folder, as they are written; what is not below `inside` is left out."""

    def __init__(self, folder: Path, inside: str, progress: Callable[[int], None] | None):
        self.folder, self.progress, self.bytes = folder, progress, 0
        self.inside = tuple(inside.split("/")) if inside else ()
        self.top: tuple[str, ...] | None = None  # what `inside` is in this archive

    def add(self, member: Member) -> None:
        depth = len(self.inside)
        top = member.parts[:depth]
        if len(top) < depth or any(wanted not in ("*", part) for wanted, part in zip(self.inside, top, strict=True)):
            return
        self.top = self.top or top
        if top != self.top:
            raise _Refused(
                f"is in another folder than {_show('/'.join(self.top))}; expected one {'/'.join(self.inside)}"
            )
        if len(member.parts) == depth and member.kind == "file":
            raise _Refused("is a file; expected a folder")
        path = self.folder.joinpath(*member.parts[depth:])
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        left = member.size
        with member.open() as source, path.open("xb") as target:
            while left >= 0 and (chunk := source.read(CHUNK)):
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
        raise InputError(
            f"{archive} cannot be read: {error.strerror}; expected a tar or zip archive. Check the path."
        ) from None


def _show(name: str) -> str:
    """A member's name in a message, whatever it holds."""
    return ascii(name if len(name) <= 200 else f"{name[:197]}...")
