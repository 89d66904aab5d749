"""The report on a dataset, as text and as JSON."""

import json
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from segkit.data.verify import LEVELS, Entry, Report
from segkit.data.verify_masks import expected_ids
from segkit.data.verify_splits import Contents

WIDTH = 100  # columns; only a path may be longer
FIRST = 5  # findings of a kind that the text names
SIZES = 3  # of a split that are named


def report_lines(report: Report, root: Path) -> list[str]:
    """The report as text; the last two lines sum it up.

    Args:
        root: folder of the dataset; paths are shown from there.
    """
    expected = f"Labels should hold ids {expected_ids(report.classes)}; as RGB, the exact colours of the classes."
    lines = [f"Files are in {root}.", *_wrapped(expected, "", "  "), ""]
    for entry in report.entries:
        lines += [*_entry(entry, f"{root}/"), ""]
    for split, found in report.splits.items():
        lines += _wrapped(_contents(split, found), "", "  ")
    counts = Counter(entry.kind.level for entry in report.entries)
    kinds = ", ".join(f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS if counts[level]) or "nothing"
    speed = f"{report.images} images in {report.seconds:.1f} s ({report.images / max(report.seconds, 1e-9):.0f} images/s)"
    verdict = "right" if report.right else "wrong, or refused: see the problems above"
    return [*lines, f"{speed}; found: {kinds}.", f"Training would be {verdict}."]


def class_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table: share of each class in the labelled pixels of each split, per cent."""
    labelled = {split: max(1, sum(found.pixels[:-1])) for split, found in report.splits.items()}
    rows = [
        [name, *(f"{100 * found.pixels[index] / labelled[split]:.2f}" for split, found in report.splits.items())]
        for index, name in enumerate(report.classes.names)
    ]
    return ["class", *report.splits], rows


def report_json(report: Report) -> str:
    """The whole report, with every place."""
    entries = [
        {
            **asdict(entry.kind),
            "count": len(entry.faults),
            "found": [{"place": fault.place, "detail": fault.detail} for fault in entry.faults],
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


def _entry(entry: Entry, root: str) -> list[str]:
    """What is the matter, what to do, and the first few places."""
    lines = _wrapped(f"{entry.kind.level.upper()}: {entry.kind.title} ({len(entry.faults)})", "", "  ")
    lines += _wrapped(entry.kind.advice, "  ", "  ")
    for fault in entry.faults[:FIRST]:
        text = f"{fault.place}: {fault.detail}" if fault.detail else fault.place
        lines += _wrapped(text.replace(root, ""), "    ", "      ")
    if len(entry.faults) > FIRST:
        lines.append(f"    and {len(entry.faults) - FIRST} more: --out FILE.json lists all")
    return lines


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False)


def _contents(split: str, found: Contents) -> str:
    sizes = [f"{size} ({count})" if len(found.sizes) > 1 else size for size, count in list(found.sizes.items())[:SIZES]]
    more = f" and {len(found.sizes) - SIZES} other sizes" if len(found.sizes) > SIZES else ""
    return f"{split}: {found.images} images, height x width {', '.join(sizes) or 'unknown'}{more}, {found.void:.1%} void"
