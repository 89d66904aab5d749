"""Report on a dataset, as text and as JSON."""

import json
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from segkit.data.faults import Fault
from segkit.data.verify.verify import LEVELS, Report

WIDTH = 100  # columns; only a path may be longer
FIRST = 5  # number of findings of a kind that the text lists
SIZES = 3  # number of sizes of a split that the text lists
_HELD = "\0"  # a blank at which no line is broken; it occurs in no path


def report_lines(report: Report, root: Path) -> list[str]:
    """Return the report as text; the last two lines summarize it.

    Args:
        root: folder of the dataset; paths are shown relative to it.
    """
    expected = f"Labels should hold ids {report.classes.expected_ids}; as RGB, the exact colours of the classes."
    lines = [f"Files are in {root}.", *_wrapped(expected, "", "  "), ""]
    for entry in report.entries:
        lines += _wrapped(f"{entry.kind.level.upper()}: {entry.kind.title} ({len(entry.faults)})", "", "  ")
        lines += _wrapped(entry.kind.advice, "  ", "  ")
        for fault in entry.faults[:FIRST]:
            lines += _wrapped(_text(fault, root), "    ", "      ")
        if len(entry.faults) > FIRST:
            lines.append(f"    and {len(entry.faults) - FIRST} more: --out FILE.json lists all")
        lines.append("")
    for split, found in report.splits.items():
        sizes = [f"{size} ({n})" if len(found.sizes) > 1 else size for size, n in [*found.sizes.items()][:SIZES]]
        more = f" and {len(found.sizes) - SIZES} other sizes" if len(found.sizes) > SIZES else ""
        void = f", {found.void:.1%} void" if any(found.pixels) else ""
        text = f"{split}: {found.images} images, height x width {', '.join(sizes) or 'unknown'}{more}{void}"
        lines += _wrapped(text, "", "  ")
    counts = Counter(entry.kind.level for entry in report.entries)
    kinds = [f"{counts[level]} kind{'s' * (counts[level] > 1)} of {level}" for level in LEVELS if counts[level]]
    speed = f"{report.images / max(report.seconds, 1e-9):.0f} images/s"
    lines.append(f"{report.images} images in {report.seconds:.1f} s ({speed}); found: {', '.join(kinds) or 'nothing'}.")
    lines.append("Ready to train." if report.right else "Do not train on this yet: fix the problems above.")
    return lines


def class_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of a table: each class's share of labelled pixels, per cent, for splits with labels."""
    pixels = {split: found.pixels[:-1] for split, found in report.splits.items() if any(found.pixels[:-1])}
    rows = [
        [name, *(f"{100 * each[index] / sum(each):.2f}" for each in pixels.values())]
        for index, name in enumerate(report.classes.names)
    ]
    return ["class", *pixels], rows


def report_json(report: Report) -> str:
    """Return the whole report as JSON, with every place."""
    entries = []
    for entry in report.entries:
        found = [{"place": each.place, "detail": f"{each.detail} {each.other}".strip()} for each in entry.faults]
        entries.append({**asdict(entry.kind), "count": len(entry.faults), "found": found})
    about = {
        "right": report.right,
        "images": report.images,
        "seconds": round(report.seconds, 2),
        "class_names": report.classes.names,
        "entries": entries,
        "splits": {split: asdict(found) for split, found in report.splits.items()},
    }
    return json.dumps(about, indent=2)


def _text(fault: Fault, root: Path) -> str:
    """Return the text of a finding, with paths relative to the root and `_HELD` for blanks in paths."""
    place, detail, other = (text.removeprefix(f"{root}/") for text in (fault.place, fault.detail, fault.other))
    held_place, held_root, held_other = (path.replace(" ", _HELD) for path in (place, str(root), other))
    return f"{held_place}: {detail.replace(str(root), held_root)} {held_other}".removesuffix(" ").removesuffix(": ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_HELD, " ") for line in lines]
