"""From finished run folders to tables."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.errors import InputError
from segkit.tracking.console import percent
from segkit.tracking.run_dir import RunDir


@dataclass(frozen=True)
class Comparison:
    """A table of text: `columns`, and one row per run or class."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def collect(paths: Sequence[Path]) -> tuple[Comparison, Comparison]:
    """The table of scores, a row per run, and the table of IoU, a row per class. Scores in per cent, of the test split.

    Raises:
        InputError: if a folder holds no finished run, or the runs have different classes.
    """
    results = [RunDir(path).require().result() for path in paths]
    titles = run_titles(paths)
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("a run folder is given twice; expected different runs. Leave one out.")
    for path, result in zip(paths, results, strict=True):
        if result["class_names"] != results[0]["class_names"]:
            raise InputError(
                f"{path} has {len(result['class_names'])} classes, {paths[0]} has {len(results[0]['class_names'])}: "
                "expected runs on one dataset. Compare them apart."
            )
        if result["test_fingerprint"] != results[0]["test_fingerprint"]:
            raise InputError(f"{path} and {paths[0]} were scored on different test labels: expected one test split. Compare them apart.")
    scores = Comparison(
        "scores on the test split, per cent",
        ("decoder", "parameters", "global accuracy", "class average accuracy", "mean IoU", "seconds"),
        tuple(_score_row(title, result) for title, result in zip(titles, results, strict=True)),
    )
    classes = Comparison(
        "IoU of each class, per cent",
        ("class", *titles),
        tuple(
            (name, *(percent(result["test"]["iou"][index]) for result in results)) for index, name in enumerate(results[0]["class_names"])
        ),
    )
    return scores, classes


def run_titles(paths: Sequence[Path]) -> list[str]:
    """What to call each run: its decoder, or its folder where two runs share a decoder, or the whole path where that is not enough."""
    decoders = [RunDir(path).require().result()["decoder"] for path in paths]
    folders = [path.resolve().name for path in paths]
    return [
        decoder if decoders.count(decoder) == 1 else folder if folders.count(folder) == 1 else str(path)
        for decoder, folder, path in zip(decoders, folders, paths, strict=True)
    ]


def _score_row(title: str, result: dict[str, Any]) -> tuple[str, ...]:
    test = result["test"]
    return (
        title,
        f"{result['parameters']:,}",
        percent(test["global_accuracy"]),
        percent(test["class_average_accuracy"]),
        percent(test["mean_iou"]),
        f"{result['seconds']:.0f}",
    )


def write_tables(tables: Sequence[Comparison], out: Path) -> list[Path]:
    """Writes OUT/scores.csv, OUT/classes.csv and OUT/table.md."""
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "scores.csv", out / "classes.csv", out / "table.md"]
    for path, table in zip(written, tables, strict=False):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([table.columns, *table.rows])
    written[2].write_text("\n\n".join(_markdown(table) for table in tables) + "\n", encoding="utf-8")
    return written


def _markdown(table: Comparison) -> str:
    lines = [table.columns, ["---", *["--:"] * (len(table.columns) - 1)], *table.rows]
    return f"{table.title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)
