"""Tar and zip archives from elsewhere: every member is checked, then all are unpacked or none."""

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
MAX_RATIO = 1_000  # of bytes unpacked to bytes of the archive
SMALL = 10_000_000  # bytes that may be unpacked whatever the ratio
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError)
DAMAGE += (ValueError, LookupError, RuntimeError, OverflowError, MemoryError)  # of headers that declare nonsense
BAD_NAME = (None, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG)  # errors of the system that are not the disk's


def unpack(
    archive: Path,
    root: Path,
    *,
    inside: str = "",
    finish: Callable[[Path], object] = lambda _: None,
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Unpack an archive into the new folder `root`.

    Until all of it is on the disk, it is in the hidden folder `.NAME.partial` beside `root`, which is removed after any
    failure; no other process may be unpacking into the same `root`.

    Args:
        archive: tar (plain, gzip, bzip2 or xz) or zip, recognized by its content.
        inside: folder of the archive that becomes `root`, such as `VOCdevkit/VOC2012`; `*` stands for any one name.
        finish: called with the folder once everything is in it; may check it and add to it.
        progress: called for each file, with its bytes.
    Raises:
        InputError: if `root` exists, or the archive is damaged, has not exactly one folder `inside`, or has a member
            that is no plain file or folder, leads out of its folder, meets another one or is too large.
        RunError: if there is too little space; nothing was written.
        OSError: if writing fails.
    """
    if os.path.lexists(root):
        raise InputError(f"{root} exists; {archive} was not unpacked. Remove the folder, or choose another.")
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process
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
        os.sync()  # after a loss of power, names could otherwise be there before their content
        found[0].rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(root.parent)


def _extract(archive: Path, folder: Path, progress: Callable[[int], object]) -> None:
    """Check all members of an archive and the space for them, then write them: names and contents, never rights, owners
    or times."""

    def taken(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        progress(member.size)
        return tarfile.data_filter(member, path).replace(mode=None, mtime=None, deep=False)  # pyright: ignore[reportArgumentType]

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
    """Return the bytes of all members, given as (name, bytes, kind); raise ValueError for one that cannot be taken.

    Names are compared as on a disk that ignores case.
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
    """Read the end of a tar whose members were all read: blocks of zeros, and the checksum of a compressed file.

    tarfile takes a damaged header for the end.
    """
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    length, zeros = 0, True
    while chunk := tar.fileobj.read(2**20):
        length, zeros = length + len(chunk), zeros and not chunk.strip(b"\0")
    if not length or not zeros:
        raise ValueError(f"it is truncated or damaged at byte {tar.offset}")
