"""Tables of a comparison: text for the terminal, CSV, Markdown and LaTeX."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segkit.compare.collect import Method
from segkit.compare.statistics import Statistics
from segkit.system.files import write_atomically
from segkit.tracking.console import percent

if TYPE_CHECKING:
    from pandas import DataFrame

# What LaTeX and Markdown would not print as it stands. LaTeX takes a star or a bracket at the start of a row for a part
# of the row's end.
_NAMES = {"\\": "backslash", "<": "less", ">": "greater", "|": "bar", "~": "asciitilde", "^": "asciicircum"}
LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {c: f"{{{c}}}" for c in "[*"}
    | {c: f"\\text{name}{{}}" for c, name in _NAMES.items()}
)
MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*<[|"})


@dataclass(frozen=True)
class Table:
    """A table of text: `columns`, and rows whose first cell is a name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def frame(self) -> "DataFrame":
        """The same for a notebook: text, with the rows' names as index."""
        from pandas import DataFrame

        rows = [[cell.replace("+-", "±") for cell in row] for row in self.rows]
        return DataFrame(rows, columns=list(self.columns)).set_index(self.columns[0])


def score_table(methods: Sequence[Method], statistics: Statistics | None = None) -> Table:
    """Scores of the test split in per cent, a row per method: mean over its runs, and +- their standard deviation if
    there are several.

    Args:
        statistics: of these methods, for the interval of the mean IoU over test images.
    """
    intervals = {each.method: each.mean_iou_interval for each in statistics.summaries} if statistics else {}
    keys = ("global_accuracy", "class_average_accuracy", "mean_iou")
    rows = []
    for method in methods:
        scores = [_mean_and_deviation([100 * getattr(run.scores, key) for run in method.runs]) for key in keys]
        seconds = f"{np.mean([run.result['seconds'] for run in method.runs]):.0f}"
        about = (method.title, str(len(method.runs)), f"{method.runs[0].result['parameters']:,}")
        interval = (
            [f"{100 * low:.1f} to {100 * high:.1f}" for low, high in [intervals[method.title]]] if intervals else []
        )
        rows.append((*about, *scores, *interval, seconds))
    over_images = ["95% over images"] if intervals else []
    columns = (
        "method",
        "runs",
        "parameters",
        "global accuracy",
        "class average accuracy",
        "mean IoU",
        *over_images,
        "seconds",
    )
    return Table("scores on the test split, per cent", columns, tuple(rows))


def class_table(methods: Sequence[Method]) -> Table:
    """IoU of each class in per cent, mean over the runs of each method; a run in which a class occurs nowhere is left
    out of its mean."""
    iou = [method.class_iou for method in methods]
    means = [np.nansum(each, 0) / np.maximum((~np.isnan(each)).sum(0), 1) for each in iou]
    values = [np.where(np.isnan(each).all(0), np.nan, mean) for each, mean in zip(iou, means, strict=True)]
    names = methods[0].runs[0].result["class_names"]
    rows = tuple((name, *map(percent, line)) for name, line in zip(names, np.stack(values, axis=1), strict=True))
    return Table("IoU of each class, per cent", ("class", *(method.title for method in methods)), rows)


def image_table(methods: Sequence[Method]) -> Table:
    """Mean IoU of each test image in per cent, mean over the runs of each method.

    The worst image, by the mean over methods, comes first; images without a labelled pixel come last.
    """
    ids, values = methods[0].runs[0].test[0], np.stack([method.image_mean_iou.mean(0) for method in methods], axis=1)
    rows = [(ids[index], *map(percent, values[index])) for index in np.argsort(values.mean(1), kind="stable")]
    return Table(
        "mean IoU of each test image, per cent, worst first",
        ("image", *(method.title for method in methods)),
        tuple(rows),
    )


def difference_table(statistics: Statistics) -> Table:
    """Differences of mean IoU in points (per cent), a row per pair of methods, the better one first."""
    rows = []
    for pair in statistics.pairs:
        names, values = (pair.first, pair.second), np.array([pair.difference, *pair.interval])
        if pair.difference < 0:
            names, values = names[::-1], -values[[0, 2, 1]]
        p = ["-" if value is None else f"{value:.4f}" for value in (pair.p_images, pair.p_seeds, pair.p_corrected)]
        verdict = "differ" if pair.distinguishable else "not distinguishable"
        rows.append((" - ".join(names), *(f"{100 * value:+z.2f}" for value in values), *p, verdict, pair.rests_on))
    columns = (
        "difference of mean IoU",
        "points",
        "low",
        "high",
        "p, images",
        "p, seeds",
        "p, corrected",
        "verdict",
        "rests on",
    )
    together = f", {statistics.block} in a row drawn together" if statistics.block > 1 else ""
    about = f"95% intervals and p over {statistics.images} test images{together}, {statistics.resamples:,} resamples; p corrected by Holm"
    return Table(f"differences of mean IoU in points; {about}", columns, tuple(rows))


def _mean_and_deviation(values: Sequence[float]) -> str:
    return f"{values[0]:.1f}" if len(values) == 1 else f"{np.mean(values):.1f} +- {np.std(values, ddof=1):.1f}"


def write_tables(tables: Sequence[tuple[str, Table]], out: Path) -> list[Path]:
    """Writes OUT/NAME.csv for each (name, table), and all of them as OUT/table.md and OUT/table.tex; the files."""
    texts = {f"{name}.csv": _csv(table) for name, table in tables}
    texts["table.md"] = "\n\n".join(markdown(table) for _, table in tables) + "\n"
    texts["table.tex"] = "\n".join(latex(table) for _, table in tables)
    for name, text in texts.items():
        write_atomically(out / name, lambda partial, text=text: partial.write_text(text, encoding="utf-8", newline=""))
    return [out / name for name in texts]


def _csv(table: Table) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue()


def markdown(table: Table) -> str:
    """A title and a Markdown table."""
    lines = [_cells(table.columns), ["---", *["--:"] * (len(table.columns) - 1)], *map(_cells, table.rows)]
    return f"{_line(table.title).translate(MARKDOWN)}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(cells: Sequence[str]) -> list[str]:
    return [_line(cell).translate(MARKDOWN).replace("+-", "±") for cell in cells]


def latex(table: Table) -> str:
    """A LaTeX tabular that needs no package: the first column to the left, the others, numbers, to the right."""
    head, *rows = (" & ".join(_latex_cell(cell) for cell in cells) + r" \\" for cells in (table.columns, *table.rows))
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\hline",
        head,
        r"\hline",
        *rows,
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join([f"% {_line(table.title)}", *lines, ""])


def _latex_cell(cell: str) -> str:
    """A cell without special characters; in numbers, +- is a sign, and a missing one a dash."""
    return "--" if cell == "-" else _line(cell).translate(LATEX).replace("+-", r"$\pm$")


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
