"""The report on a dataset, as text and as JSON."""

import json
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from segkit.data.verify.kinds import Fault
from segkit.data.verify.masks import expected_ids
from segkit.data.verify.splits import Contents
from segkit.data.verify.verify import LEVELS, Entry, Report

WIDTH = 100  # columns; only a path may be longer
FIRST = 5  # findings of a kind that the text names
SIZES = 3  # of a split that are named
_HELD = "\0"  # no path holds it: a blank at which no line is broken


def report_lines(report: Report, root: Path) -> list[str]:
    """The report as text; the last two lines sum it up.

    Args:
        root: folder of the dataset; paths are shown from there.
    """
    expected = f"Labels should hold ids {expected_ids(report.classes)}; as RGB, the exact colours of the classes."
    lines = [f"Files are in {root}.", *_wrapped(expected, "", "  "), ""]
    for entry in report.entries:
        lines += [*_entry(entry, root), ""]
    for split, found in report.splits.items():
        lines += _wrapped(_contents(split, found), "", "  ")
    counts = Counter(entry.kind.level for entry in report.entries)
    kinds = (
        ", ".join(f"{counts[level]} kind{'s' * (counts[level] > 1)} of {level}" for level in LEVELS if counts[level])
        or "nothing"
    )
    speed = (
        f"{report.images} images in {report.seconds:.1f} s ({report.images / max(report.seconds, 1e-9):.0f} images/s)"
    )
    verdict = "right" if report.right else "wrong, or refused: see the problems above"
    return [*lines, f"{speed}; found: {kinds}.", f"Training would be {verdict}."]


def class_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table: share of each class in the labelled pixels of each split that has some, per cent."""
    pixels = {split: found.pixels[:-1] for split, found in report.splits.items() if any(found.pixels[:-1])}
    rows = [
        [name, *(f"{100 * each[index] / sum(each):.2f}" for each in pixels.values())]
        for index, name in enumerate(report.classes.names)
    ]
    return ["class", *pixels], rows


def report_json(report: Report) -> str:
    """The whole report, with every place."""
    entries = [
        {
            **asdict(entry.kind),
            "count": len(entry.faults),
            "found": [
                {"place": fault.place, "detail": f"{fault.detail} {fault.other}".strip()} for fault in entry.faults
            ],
        }
        for entry in report.entries
    ]
    about = {
        "right": report.right,
        "images": report.images,
        "seconds": round(report.seconds, 2),
        "class_names": report.classes.names,
        "entries": entries,
        "splits": {split: asdict(found) for split, found in report.splits.items()},
    }
    return json.dumps(about, indent=2)


def _entry(entry: Entry, root: Path) -> list[str]:
    """What is the matter, what to do, and the first few places."""
    lines = _wrapped(f"{entry.kind.level.upper()}: {entry.kind.title} ({len(entry.faults)})", "", "  ")
    lines += _wrapped(entry.kind.advice, "  ", "  ")
    for fault in entry.faults[:FIRST]:
        lines += _wrapped(_text(fault, root), "    ", "      ")
    if len(entry.faults) > FIRST:
        lines.append(f"    and {len(entry.faults) - FIRST} more: --out FILE.json lists all")
    return lines


def _text(fault: Fault, root: Path) -> str:
    """A finding, with paths from the root on; `_HELD` in place of blanks in paths."""
    place, detail, other = (text.removeprefix(f"{root}/") for text in (fault.place, fault.detail, fault.other))
    detail = detail.replace(str(root), _held(str(root)))
    return f"{_held(place)}: {detail} {_held(other)}".removesuffix(" ").removesuffix(": ")


def _held(path: str) -> str:
    return path.replace(" ", _HELD)


def _wrapped(text: str, first: str, others: str) -> list[str]:
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_HELD, " ") for line in lines]


def _contents(split: str, found: Contents) -> str:
    sizes = [f"{size} ({count})" if len(found.sizes) > 1 else size for size, count in list(found.sizes.items())[:SIZES]]
    more = f" and {len(found.sizes) - SIZES} other sizes" if len(found.sizes) > SIZES else ""
    void = f", {found.void:.1%} void" if any(found.pixels) else ""
    return f"{split}: {found.images} images, height x width {', '.join(sizes) or 'unknown'}{more}{void}"
