"""Tables of a comparison, as text for the terminal, CSV and Markdown."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.compare.collect import Method
from segkit.tracking.console import percent


@dataclass(frozen=True)
class Table:
    """A table of text: `columns`, and rows whose first cell is a name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def score_table(methods: Sequence[Method]) -> Table:
    """Scores of the test split in per cent, a row per method: mean over its runs, and +- their standard deviation if there are several."""
    keys = ("global_accuracy", "class_average_accuracy", "mean_iou")
    rows = []
    for method in methods:
        results = [run.result for run in method.runs]
        scores = [_mean_and_deviation([100 * result["test"][key] for result in results]) for key in keys]
        seconds = f"{np.mean([result['seconds'] for result in results]):.0f}"
        rows.append((method.title, str(len(results)), f"{results[0]['parameters']:,}", *scores, seconds))
    columns = ("method", "runs", "parameters", "global accuracy", "class average accuracy", "mean IoU", "seconds")
    return Table("scores on the test split, per cent", columns, tuple(rows))


def class_table(methods: Sequence[Method]) -> Table:
    """IoU of each class in per cent, mean over the runs of each method."""
    rows = []
    for index, name in enumerate(methods[0].runs[0].result["class_names"]):
        found = [[run.result["test"]["iou"][index] for run in method.runs] for method in methods]
        rows.append((name, *(percent(None if None in each else float(np.mean(each))) for each in found)))
    return Table("IoU of each class, per cent", ("class", *(method.title for method in methods)), tuple(rows))


def _mean_and_deviation(values: Sequence[float]) -> str:
    return f"{values[0]:.1f}" if len(values) == 1 else f"{np.mean(values):.1f} +- {np.std(values, ddof=1):.1f}"


def write_tables(tables: Sequence[tuple[str, Table]], out: Path) -> list[Path]:
    """Writes OUT/NAME.csv for each (name, table), and all of them as OUT/table.md."""
    out.mkdir(parents=True, exist_ok=True)
    written = [out / f"{name}.csv" for name, _ in tables]
    for path, (_, table) in zip(written, tables, strict=True):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([table.columns, *table.rows])
    (out / "table.md").write_text("\n\n".join(markdown(table) for _, table in tables) + "\n", encoding="utf-8")
    return [*written, out / "table.md"]


def markdown(table: Table) -> str:
    """A title and a Markdown table."""
    lines = [table.columns, ["---", *["--:"] * (len(table.columns) - 1)], *table.rows]
    return f"{table.title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)
