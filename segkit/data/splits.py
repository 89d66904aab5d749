"""What every dataset asks of its splits: lists that can be read, files that are there, and no image twice."""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from segkit.errors import InputError


def read_list(path: Path, expected: str) -> list[tuple[int, str]]:
    """Number and words of each line that is not blank; a byte order mark and Windows' line ends are no matter.

    Args:
        expected: what a line should hold, for the message.
    Raises:
        InputError: if the file cannot be read.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected a text file with {expected}. Restore the list.")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no plain file; expected a text file with {expected}. Restore the list.")
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no UTF-8 text (byte {error.start}); expected {expected}. Restore the list."
        ) from None
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; expected a text file with {expected}. Restore the list, or set data.root=PATH."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be read: {reason}; expected a text file with {expected}. Restore the list."
        ) from None
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def require_once(path: Path, ids: Sequence[tuple[int, str]]) -> None:
    """Raises InputError if a list names a sample twice: it would count double, and one prediction would overwrite the
    other.

    Args:
        ids: line number, 0 if there is none, and id of each sample.
    """
    first: dict[str, int] = {}
    for number, name in ids:
        if name in first:
            where = f", on lines {first[name]} and {number}" if number else ""
            raise InputError(f"{path} lists '{name}' twice{where}; expected each image once. Remove one.")
        first[name] = number


def require_files(place: Path, files: Iterable[Path]) -> None:
    """Raises InputError if a file that the list or folder `place` names is not there, or nobody may look at it."""
    missing = [path for path in files if not os.path.isfile(path)]
    if not missing:
        return
    try:
        missing[0].stat()
        raise InputError(f"{missing[0]} is no file; {place} names it. Put the file in its place.")
    except PermissionError as error:
        raise InputError(
            f"{missing[0]} cannot be read: {error.strerror}; {place} names it. Change its rights."
        ) from None
    except (OSError, ValueError):
        pass
    count = "a missing file," if len(missing) == 1 else f"{len(missing)} missing files, the first is"
    raise InputError(
        f"{place} names {count} {missing[0]}; expected an image and a label for every sample. "
        "Copy the dataset again, or take these samples out."
    )


def require_disjoint(splits: Mapping[str, tuple[Path, Iterable[str]]]) -> None:
    """Raises InputError if an image is in two splits: a model would be scored on what it was trained or chosen on.

    `val` and `test` may be one and the same, as in VOC, whose test labels are secret.

    Args:
        splits: train, val and test -> the file or folder that lists the images, and what tells them apart.
    """
    images = {split: (place, set(names)) for split, (place, names) in splits.items()}
    for (one, (place, names)), (other, (other_place, others)) in combinations(images.items(), 2):
        common = sorted(names & others)
        if common and not ({one, other} == {"val", "test"} and names == others):
            count = "1 image" if len(common) == 1 else f"{len(common)} images"
            raise InputError(
                f"{place} ({one}) and {other_place} ({other}) share {count}, the first is '{common[0]}'; "
                "expected no image of one split in another. Remove it from one."
            )
