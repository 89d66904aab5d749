"""A public dataset from its source to its folder, which is there whole or not at all."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from segkit.data.download.archive import unpack
from segkit.data.download.http import Patience, Show, download, forget
from segkit.data.download.sources import Source, SourceFile, content_digest
from segkit.errors import InputError, RunError

SILENT, PATIENCE = Show(), Patience()


def is_there(source: Source, root: Path) -> bool:
    """Whether a dataset is in its folder already.

    Raises:
        InputError: if something else is there.
    """
    folder = root / source.folder
    if not os.path.lexists(folder):
        return False
    lacks = source.lacks(folder) if folder.is_dir() else "it is no folder"
    if lacks:
        raise InputError(
            f"{folder} exists, but is not all of {source.name}: {lacks}. Rename or remove it, then repeat the command."
        )
    return True


def fetch(
    source: Source,
    root: Path,
    *,
    archives: Sequence[Path] = (),
    show: Show = SILENT,
    patience: Patience = PATIENCE,
) -> None:
    """Fetches a dataset, checks it and unpacks it into its folder below `root`, unless it is there.

    A call that was cut off is gone on with by the next one: what has come lies in `ROOT/.NAME.part`. No other process
    may be fetching the same dataset.

    Args:
        archives: files that were fetched otherwise; they stay. The others are fetched.
    Raises:
        InputError: if the folder is there but not complete, an archive is not the one that was published, or cannot be
            unpacked.
        RunError: if a file cannot be fetched.
    """
    if is_there(source, root):
        return
    root.mkdir(parents=True, exist_ok=True)
    given = _given(source, archives)
    paths = [given.get(file.name, root / f".{file.name}.part") for file in source.files]
    fetched = [(file, path) for file, path in zip(source.files, paths, strict=True) if file.name not in given]
    for file, path in reversed(fetched):  # the archive, which is large, last
        download(file, path, unpacked=source.unpacked or file.size or 0, show=show, patience=patience)
        show.line(f"{file.name}: {f'{file.digest.title} as published' if file.digest else 'complete'}")
    folder = root / source.folder
    for left in folder.parent.glob(f".{folder.name}.*.partial"):  # by a killed process
        shutil.rmtree(left, ignore_errors=True)
    show.line(f"unpacking into {folder}")
    try:
        _unpack(source, folder, paths, show)
    except InputError as error:
        if not fetched:
            raise
        for file, path in fetched:
            if file.digest is None or file.digest.first:  # the next call would find the same bytes
                forget(path)
        raise RunError(str(error)) from None
    for _, path in fetched:
        forget(path)


def _given(source: Source, archives: Sequence[Path]) -> dict[str, Path]:
    """Path of each of a dataset's files among those that a user gave."""
    found: dict[str, Path] = {}
    for path in archives:
        if not path.is_file():
            raise InputError(f"--from-archive {path} is no file. Check the path.")
        file = next((file for file in source.files if file.name not in found and _is(file, path)), None)
        if file is None:
            raise InputError(
                f"--from-archive {path} is not one of the files of {source.name}, or damaged: "
                f"{'; or '.join(_difference(file, path) for file in source.files)}. Fetch it again: {source.files[0].url}"
            )
        found[file.name] = path
    return found


def _is(file: SourceFile, path: Path) -> bool:
    return file.digest is None or (
        file.size in (None, path.stat().st_size) and file.digest.of(path) == file.digest.value
    )


def _difference(file: SourceFile, path: Path) -> str:
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"expected {file.name} of {file.size} bytes, found {size} bytes"
    digest = file.digest
    return f"expected {file.name}" + (
        "" if digest is None else f" with {digest.title} {digest.value}, found {digest.of(path)}"
    )


def _unpack(source: Source, folder: Path, paths: Sequence[Path], show: Show) -> None:
    def finish(partial: Path) -> None:
        for file, path in zip(source.files[1:], paths[1:], strict=True):
            shutil.copyfile(path, partial / (file.goes_to or file.name))
        lacks = source.lacks(partial)
        if not lacks and source.content is not None and (found := content_digest(partial)) != source.content:
            lacks = f"the SHA-256 of its files is {found}; expected {source.content}"
        if lacks:
            raise InputError(f"{paths[0]} is not all of {source.name}: {lacks}. Nothing was unpacked. Fetch it again.")

    done = 0
    with show.bar("unpacking", source.unpacked, 0) as advance:

        def written(count: int) -> None:
            nonlocal done
            advance(count - done)
            done = count

        unpack(paths[0], folder, inside=source.inside, finish=finish, progress=written)
