"""Safe unpacking of downloaded tar and zip archives: all members are checked, then all are unpacked or none."""

import errno
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
from collections.abc import Callable, Iterable
from pathlib import Path

from segkit.errors import InputError
from segkit.system.files import require_space, sync_folder

MAX_BYTES = 200_000_000_000
MAX_MEMBERS = 500_000
MAX_RATIO = 1_000  # of unpacked bytes to bytes of the archive
SMALL = 10_000_000  # unpacked bytes that are allowed whatever the ratio
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError)
DAMAGE += (ValueError, LookupError, RuntimeError, OverflowError, MemoryError)  # from nonsense in headers
BAD_NAME = (None, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG)  # system errors not caused by the disk


def unpack(
    archive: Path,
    root: Path,
    *,
    inside: str = "",
    finish: Callable[[Path], object] = lambda _: None,
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Unpack an archive into the new folder `root`.

    Until everything is on the disk, it is in the hidden folder `.NAME.partial` beside `root`, which is removed after
    any failure. No other process may be unpacking into the same `root`.

    Args:
        archive: tar (plain, gzip, bzip2 or xz) or zip, recognized by its content.
        inside: folder of the archive that becomes `root`, such as `VOCdevkit/VOC2012`; `*` stands for any one name.
        finish: called with the complete folder; may check it and add files.
        progress: called with the size in bytes of each file.
    Raises:
        InputError: if `root` exists, or the archive is damaged, does not have exactly one folder `inside`, or has a
            member that is not a regular file or folder, leads out of its folder, collides with another or is too large.
        RunError: if there is too little space; nothing is written then.
        OSError: if writing fails.
    """
    if os.path.lexists(root):
        raise InputError(f"{root} exists; {archive} was not unpacked. Remove the folder, or choose another.")
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
    partial.mkdir(parents=True)
    try:
        _extract(archive, partial, progress)
        found = [*partial.glob(inside)] if inside else [partial]
        if len(found) != 1 or not found[0].is_dir():
            raise InputError(
                f"{archive} holds {len(found)} of {inside}; expected one folder. Nothing was unpacked. "
                "Check that it is the right archive."
            )
        finish(found[0])
        os.sync()  # else a loss of power could leave file names without content
        found[0].rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(root.parent)


def _extract(archive: Path, folder: Path, progress: Callable[[int], object]) -> None:
    """Check the members of an archive and the disk space, then write their names and contents, without rights or times.

    Owners are not restored either.
    """

    def taken(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        progress(member.size)
        checked = tarfile.data_filter(member, path)
        return checked.replace(mode=None, mtime=None, deep=False)  # pyright: ignore[reportArgumentType]

    limit = min(MAX_BYTES, max(SMALL, MAX_RATIO * archive.stat().st_size))
    with archive.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        if zipped:
            with zipfile.ZipFile(archive) as zip:
                require_space(folder, _checked_size(map(_zip_member, zip.infolist()), limit))
                for member in zip.infolist():
                    zip.extract(member, folder)
                    progress(member.file_size)
        else:
            with tarfile.open(archive) as tar:
                require_space(folder, _checked_size(map(_tar_member, tar), limit))
                _require_end(tar)
                tar.extractall(folder, filter=taken)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in BAD_NAME:
            raise
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise InputError(
            f"{archive} cannot be unpacked: {reason}. Nothing was unpacked. Fetch it again from its publisher."
        ) from None


def _tar_member(member: tarfile.TarInfo) -> tuple[str, int, str]:
    return member.name, member.size, "folder" if member.isdir() else "file" if member.isfile() else "special"


def _zip_member(member: zipfile.ZipInfo) -> tuple[str, int, str]:
    special = stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR)
    kind = "special" if special else "folder" if member.filename.endswith("/") else "file"
    return member.filename, member.file_size, kind


def _checked_size(members: Iterable[tuple[str, int, str]], limit: int) -> int:
    """Return the total bytes of members, given as (name, bytes, kind); raise ValueError for an unsafe one.

    Names are compared as on a case-insensitive disk.
    """
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = {()}
    total = 0
    for count, (name, size, kind) in enumerate(members, 1):
        folded = unicodedata.normalize("NFC", name).casefold().replace("\\", "/")
        path = tuple(part for part in folded.split("/") if part not in ("", "."))
        above = {path[:depth] for depth in range(len(path))}
        total += size
        if kind == "special":
            fault = "is a link, a device or a pipe; expected a file or folder"
        elif folded.startswith("/") or re.match("[a-z]:", folded) or ".." in path:
            fault = "leads out of its folder"
        elif path in files or (path in folders and kind == "file") or not files.isdisjoint(above):
            fault = "is in the place of another member"
        elif size < 0 or total > limit:
            fault = f"makes it unpack to {total} bytes; expected at most {limit}"
        elif count > MAX_MEMBERS:
            fault = f"is one more than {MAX_MEMBERS}"
        else:
            (files if kind == "file" else folders).add(path)
            folders.update(above)
            continue
        raise ValueError(f"member {name!a} {fault}")
    if not files:
        raise ValueError("it holds no files")
    return total


def _require_end(tar: tarfile.TarFile) -> None:
    """Check that a tar, after its last member, ends in blocks of zeros and, if compressed, with the right checksum.

    tarfile alone would take a damaged header for the end.
    """
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    length, zeros = 0, True
    while chunk := tar.fileobj.read(2**20):
        length, zeros = length + len(chunk), zeros and not chunk.strip(b"\0")
    if not length or not zeros:
        raise ValueError(f"it is truncated or damaged at byte {tar.offset}")
