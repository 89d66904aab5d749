"""Progress and tables for the user: bars on a terminal, plain lines elsewhere."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import progress
from rich.console import Console
from rich.table import Table
from rich.text import Text


def _bars(console: Console, *, of_bytes: bool = False) -> progress.Progress:
    """Return progress bars that count items or bytes and disappear afterwards."""
    if of_bytes:
        counts = progress.DownloadColumn(), progress.TransferSpeedColumn()
    else:
        counts = progress.MofNCompleteColumn(), progress.TimeElapsedColumn()
    columns = progress.TextColumn("{task.description}"), progress.BarColumn(), *counts, progress.TimeRemainingColumn()
    return progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar of `total` items; call the yielded function with the number of items just done."""
    with _bars(Console()) as bars:
        task = bars.add_task(description, total=total)
        yield lambda count: bars.advance(task, count)


@contextmanager
def byte_bar(description: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes, or without a terminal a line for each tenth.

    Call the yielded function with the number of bytes just done.

    Args:
        total: all bytes, or None if not known.
        done: bytes of the total that already exist.
    """
    console = Console()
    with _bars(console, of_bytes=True) as bars:
        task = bars.add_task(description, total=total, completed=done)

        def advance(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            bars.advance(task, count)
            if not console.is_terminal and total and 10 * before // total < 10 * done // total < 10:
                print(f"{description}: {10 * (10 * done // total)}%", flush=True)

        yield advance


class TrainingConsole:
    """Progress of one run of `total_steps`, of which some are `done`; use as a context manager.

    Args:
        best: best validation mean IoU so far, or a negative number.
    """

    def __init__(self, total_steps: int, *, done: int = 0, best: float = -1.0):
        self.console = Console(highlight=False)
        self.total_steps = total_steps
        self.best = best
        self.loss = math.nan
        self.bar = _bars(self.console)
        self.task = self.bar.add_task("training", total=total_steps, completed=done)

    def __enter__(self) -> "TrainingConsole":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar to the number of steps done."""
        self.bar.update(self.task, completed=step)

    @contextmanager
    def validation(self, images: int) -> Iterator[Callable[[int], None]]:
        """Show a second bar during validation."""
        task = self.bar.add_task("validation", total=images)
        yield lambda count: self.bar.advance(task, count)
        self.bar.remove_task(task)

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Show a record: training on the bar; validation, and steps with a non-finite loss or no labels, as lines."""
        if kind == "train":
            self.loss = record["loss"]
            self.bar.update(self.task, description=f"loss {self.loss:.4f}")
            return
        if kind == "nonfinite":
            numbers = f"loss {record['loss']}, gradient norm {record['gradient_norm']}"
            line = f"step {record['step']}: {record['term']} is not finite ({numbers})"
        elif kind == "void":
            line = f"step {record['step']}: no labelled pixel in {', '.join(record['ids'])}: loss 0"
        else:
            loss = "" if math.isnan(self.loss) else f"loss {self.loss:.4f}  "  # no step since this process started
            marker = " best" if record["mean_iou"] > self.best else ""
            self.best = max(self.best, record["mean_iou"])
            line = (
                f"epoch {record['epoch']}  step {record['step']}/{self.total_steps}  {loss}"
                f"validation: {summary(record)}  {record['seconds']:.0f} s{marker}"
            )
        self.console.print(line, soft_wrap=True)


def summary(scores: dict[str, Any]) -> str:
    """Format the three main scores in per cent, on one line."""
    return (
        f"global {percent(scores['global_accuracy'])}  class average {percent(scores['class_average_accuracy'])}  "
        f"mean IoU {percent(scores['mean_iou'])}"
    )


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose first column is text and whose others are numbers."""
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console() if Console().is_terminal else Console(width=200)
    # a table's own title would be wrapped at the table's width
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(table)


def print_scores(title: str, scores: dict[str, Any], class_names: Sequence[str]) -> None:
    """Print the scores of one split, and the IoU and accuracy of each class, in per cent."""
    classes = zip(class_names, scores["iou"], scores["accuracy"], strict=True)
    rows = [(name, percent(iou), percent(accuracy)) for name, iou, accuracy in classes]
    print_table(title, ("class", "IoU", "accuracy"), rows)
    weighted = percent(scores["frequency_weighted_iou"])
    print(f"{summary(scores)}  frequency-weighted IoU {weighted}  ({scores['classes_averaged']} classes averaged)")


def percent(value: float | None) -> str:
    """Format a share as `50.0`, or as `-` for NaN and None."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"
