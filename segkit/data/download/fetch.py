"""Download of a public dataset into its folder, completely or not at all."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from segkit.data.download.archive import unpack
from segkit.data.download.http import Show, download
from segkit.data.download.sources import Source, content_digest
from segkit.errors import InputError, RunError

SILENT = Show()


def is_there(source: Source, root: Path) -> bool:
    """Return True if a dataset is already in its folder.

    Raises:
        InputError: if the folder holds something else.
    """
    folder = root / source.folder
    if not os.path.lexists(folder):
        return False
    lacks = source.lacks(folder) if folder.is_dir() else "it is not a folder"
    if lacks:
        raise InputError(
            f"{folder} exists, but is not all of {source.name}: {lacks}. Rename or remove it, then repeat the command."
        )
    return True


def fetch(source: Source, root: Path, *, archives: Sequence[Path] = (), show: Show = SILENT) -> None:
    """Download a dataset, check it and unpack it into its folder below `root`, unless it is already there.

    An interrupted call is resumed by the next one. No other process may be fetching the same dataset.

    Args:
        archives: files of the dataset that the user already has; they are kept. The others are downloaded.
    Raises:
        InputError: if the folder exists but is not complete, or an archive is not the published one or damaged.
        RunError: if a file cannot be downloaded.
    """
    if is_there(source, root):
        return
    given = _recognized(source, archives)
    root.mkdir(parents=True, exist_ok=True)
    paths = {file: given.get(file.name, root / f".{file.name}") for file in source.files}
    downloaded = [file for file in source.files if file.name not in given]
    for file in reversed(downloaded):  # the large archive last
        download(file, paths[file], unpacked=source.unpacked or file.size or 0, show=show)
        show.line(f"{file.name}: {'SHA-256 as published' if file.sha256 else 'complete'}")
    archive, *others = source.files
    folder = root / source.folder

    def finish(partial: Path) -> None:
        for file in others:
            shutil.copyfile(paths[file], partial / (file.goes_to or file.name))
        lacks = source.lacks(partial)
        if not lacks and source.content is not None and (found := content_digest(partial)) != source.content:
            lacks = f"the SHA-256 of its files is {found}; expected {source.content}"
        if lacks:
            raise InputError(
                f"{paths[archive]} is not all of {source.name}: {lacks}. Nothing was unpacked. Fetch it again."
            )

    show.line(f"unpacking into {folder}")
    try:
        with show.bar("unpacking", source.unpacked, 0) as advance:
            unpack(paths[archive], folder, inside=source.inside, finish=finish, progress=advance)
    except InputError as error:
        if not downloaded:
            raise
        for file in downloaded:
            if file.sha256 is None:  # with a checksum, the next call would only download the same bytes
                paths[file].unlink()
        raise RunError(str(error)) from None
    for file in downloaded:
        paths[file].unlink()


def _recognized(source: Source, archives: Sequence[Path]) -> dict[str, Path]:
    """Return name -> path of the dataset's files that the user gave."""
    found: dict[str, Path] = {}
    for path in archives:
        if not path.is_file():
            raise InputError(f"--from-archive {path} is not a file. Check the path.")
        faults = {file.name: file.fault(path) for file in source.files if file.name not in found}
        name = next((name for name, fault in faults.items() if not fault), None)
        if name is None:
            reasons = "; ".join(f"for {name}, {fault}" for name, fault in faults.items()) or "all of them are given"
            raise InputError(
                f"--from-archive {path} is not one of the files of {source.name}, or damaged: {reasons}. "
                f"Download it again: {source.files[0].url}"
            )
        found[name] = path
    return found
