"""Safe unpacking of downloaded tar and zip archives: all members are checked, then all are unpacked or none."""

import errno
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from segkit.errors import InputError
from segkit.system.files import require_space, sync_folder

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
DAMAGE += (ValueError, LookupError, RuntimeError, OverflowError, MemoryError, struct.error)  # from nonsense in headers
DISK_IS_FINE = (None, errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR)  # the archive is not


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
            member that is not a regular file or folder or leads out of its folder.
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
    """Check the members of an archive and the disk space, then write names and contents: no rights, owners or times."""

    def taken(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        progress(member.size)
        checked = tarfile.data_filter(member, path)
        return checked.replace(mode=None, mtime=None, deep=False)  # pyright: ignore[reportArgumentType]

    with archive.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        if zipped:
            _extract_zip(archive, folder, progress)
            return
        with tarfile.open(archive) as tar:
            size = 0
            for member in tar:
                tarfile.data_filter(member, str(folder))  # raises an error if it leads out of the folder
                if member.size < 0 or not (member.isfile() or member.isdir()):
                    raise ValueError(f"member {member.name!a} is no file or folder")
                size += member.size
            _require_end(tar)
            require_space(folder, size)
            tar.extractall(folder, filter=taken)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in DISK_IS_FINE:
            raise
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise InputError(
            f"{archive} cannot be unpacked: {reason}. Nothing was unpacked. Fetch it again from its publisher."
        ) from None


def _extract_zip(archive: Path, folder: Path, progress: Callable[[int], object]) -> None:
    with zipfile.ZipFile(archive) as zip:
        for member in zip.infolist():
            if member.is_dir() and member.file_size:
                raise ValueError(f"folder {member.filename!a} has content")
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"member {member.filename!a} is no file or folder")
            if ".." in Path(member.filename).parts:
                raise ValueError(f"member {member.filename!a} leads out of its folder")
        require_space(folder, sum(member.file_size for member in zip.infolist()))
        for member in zip.infolist():
            zip.extract(member, folder)
            progress(member.file_size)


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
