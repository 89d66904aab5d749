"""Report on a dataset, as text and as JSON."""

import json
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from segkit.data.faults import Fault
from segkit.data.verify.verify import LEVELS, Report

WIDTH = 100  # columns; only a finding may be longer
FIRST = 5  # number of findings of a kind that the text lists
SIZES = 3  # number of sizes of a split that the text lists


def report_lines(report: Report, root: Path) -> list[str]:
    """Return the report as text, with paths relative to the dataset's `root`; the last two lines summarize it."""
    expected = f"Labels should hold ids {report.classes.expected_ids}; as RGB, the exact colours of the classes."
    lines = [f"Files are in {root}.", *_wrapped(expected, "", "  "), ""]
    for kind, faults in report.entries.items():
        lines += _wrapped(f"{kind.level.upper()}: {kind.title} ({len(faults)})", "", "  ")
        lines += _wrapped(kind.advice, "  ", "  ")
        lines += [f"    {_text(fault, root)}" for fault in faults[:FIRST]]
        if len(faults) > FIRST:
            lines.append(f"    and {len(faults) - FIRST} more: --out FILE.json lists all")
        lines.append("")
    for split, found in report.splits.items():
        sizes = [f"{size} ({n})" if len(found.sizes) > 1 else size for size, n in [*found.sizes.items()][:SIZES]]
        more = f" and {len(found.sizes) - SIZES} other sizes" if len(found.sizes) > SIZES else ""
        void = f", {found.void:.1%} void" if any(found.pixels) else ""
        text = f"{split}: {found.images} images, height x width {', '.join(sizes) or 'unknown'}{more}{void}"
        lines += _wrapped(text, "", "  ")
    counts = Counter(kind.level for kind in report.entries)
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
    for kind, faults in report.entries.items():
        found = [{"place": each.place, "detail": f"{each.detail} {each.other}".strip()} for each in faults]
        entries.append({**asdict(kind), "count": len(faults), "found": found})
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
    """Return the text of a finding, with paths relative to the root."""
    place, detail, other = (text.removeprefix(f"{root}/") for text in (fault.place, fault.detail, fault.other))
    return f"{place}: {detail} {other}".removesuffix(" ").removesuffix(": ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=others)
