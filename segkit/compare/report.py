"""A comparison as files: tables, figures, a picture of predictions, and one page with all of it. No model runs.

Every file is whole or not there. `report.json` lists what a report wrote, so that a later one in the same folder can
remove what it did not write again, and nothing else in the folder is touched. It is written first, too, with the files
to come: a report that was interrupted can be written again. The page is written last.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from segkit.compare.browser_data import browsed_images, browser_data, browser_image
from segkit.compare.collect import Method
from segkit.compare.figures import draw
from segkit.compare.page import Picture, page
from segkit.compare.pictures import predictions_picture
from segkit.compare.statistics import Statistics
from segkit.compare.stored import Predicted, read_predictions
from segkit.compare.tables import Table, class_table, score_table, write_tables
from segkit.data.dataset import Dataset
from segkit.errors import InputError
from segkit.metrics.boundary import TRIMAP_WIDTHS, trimap_matrices_of_several
from segkit.system.files import write_atomically
from segkit.tracking.console import progress_bar
from segkit.viz.charts import png, write_figure

PAGE, CONTENTS, PREDICTIONS = "index.html", "report.json", "predictions.png"
TABLES = ("table.md", "table.tex")  # what `write_tables` writes besides a CSV file each
FRAME_HEIGHT = 900  # pixels of the page within a notebook


@dataclass(frozen=True)
class Additions:
    """What a report says besides what it finds in the run folders.

    Attributes:
        tables: (name of the CSV file, table), after the scores and classes.
        verdicts: sentences that say which differences are real.
        costs: label of an axis with its unit -> title of a method -> cost, for the figure of accuracy against cost.
        statistics: of the methods, for the intervals beside their scores.
    """

    tables: Sequence[tuple[str, Table]] = ()
    verdicts: Sequence[str] = ()
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Report:
    """What was written, the page last, and what was left out and why, a sentence each. A notebook shows the page."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]

    def _repr_html_(self) -> str:
        # The page is given whole, since a notebook's server may not find the file. Without a base its links would lead
        # to the notebook.
        text = self.files[-1].read_text(encoding="utf-8").replace("<head>", '<head><base href="about:srcdoc">', 1)
        return f'<iframe title="Comparison" srcdoc="{escape(text)}" width="100%" height="{FRAME_HEIGHT}" style="border: 0"></iframe>'


@dataclass
class _Pictures:
    """What needs the images, labels and stored predictions of the test split.

    Attributes:
        dataset: the test split.
        near: confusion matrices of each run near label boundaries, int64 [R, D, K, K].
        rows: samples of the picture of predictions, with those of each method's first run.
        images: those of the browser.
    """

    dataset: Dataset
    near: np.ndarray
    rows: list[Predicted] = field(default_factory=list)
    images: list[dict] = field(default_factory=list)


def write_report(
    methods: Sequence[Method],
    out: Path,
    *,
    open_dataset: Callable[[], Dataset],
    additions: Additions | None = None,
    pictures: int = 4,
    browser_images: int = 240,
) -> Report:
    """Writes the comparison of some methods into a folder.

    Where the dataset or stored predictions are missing or do not fit, what needs them is left out.

    Args:
        open_dataset: gives the test split, or raises InputError.
        pictures: test images in the picture of predictions.
        browser_images: images in the page, at most.
    Raises:
        InputError: if `out` holds a file of no earlier report that would be overwritten.
    """
    earlier = _earlier_files(out)
    given = additions or Additions()
    tables = [("scores", score_table(methods, given.statistics)), ("classes", class_table(methods)), *given.tables]
    names = [*(f"{name}.csv" for name, _ in tables), *TABLES, CONTENTS, PAGE]
    _require_own(out, names, earlier)  # before the time that reading takes
    left_out: tuple[str, ...] = ()
    stored = None
    try:
        stored = _read_stored(methods, open_dataset(), pictures=pictures, browser_images=browser_images)
    except InputError as error:
        left_out = (f"Left out: {PREDICTIONS}, the figure of boundaries and the comparison image by image: {error}",)
    drawings = draw(methods, costs=given.costs, near=stored and _by_title(methods, stored.near))
    names += [f"{drawing.name}.{kind}" for drawing in drawings for kind in ("png", "pdf")] + [PREDICTIONS] * (
        stored is not None
    )
    _require_own(out, names, earlier)
    _note(out, [*earlier, *names])
    figures = [write_figure(drawing.figure, out / drawing.name) for drawing in drawings]
    files = [*write_tables(tables, out), *(file for pair in figures for file in pair)]
    if stored is not None:
        files.append(_write_predictions(methods, stored, out / PREDICTIONS))
    text = page(
        f"Comparison: {', '.join(method.title for method in methods)}",
        subtitle=_subtitle(methods),
        tables=tables,
        pictures=[
            Picture(each.name, each.caption, pair[0].read_bytes()) for each, pair in zip(drawings, figures, strict=True)
        ],
        verdicts=given.verdicts,
        notes=left_out,
        browser=stored and _browser(methods, stored),
    )
    _finish(out, files, earlier, text)
    return Report((*files, out / CONTENTS, out / PAGE), left_out)


def _write_predictions(methods: Sequence[Method], stored: _Pictures, path: Path) -> Path:
    picture = png(predictions_picture(methods, stored.rows, stored.dataset).figure)
    write_atomically(path, lambda partial: partial.write_bytes(picture))
    return path


def _browser(methods: Sequence[Method], stored: _Pictures) -> dict[str, Any]:
    total = len(methods[0].runs[0].test[0])
    return browser_data(methods, _class_names(methods), stored.dataset.palette, stored.images, total)


def _earlier_files(out: Path) -> list[str]:
    """Names of the files that an earlier report wrote there."""
    try:
        names = json.loads((out / CONTENTS).read_text(encoding="utf-8"))["files"]
        earlier = [name for name in names if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; expected a folder. Choose another one.")
    return earlier


def _require_own(out: Path, names: Sequence[str], earlier: Sequence[str]) -> None:
    """Raises InputError if one of these files is there and an earlier report did not write it."""
    for name in names:
        if (out / name).exists() and name not in earlier:
            raise InputError(
                f"{out / name} exists and is of no earlier report; nothing was written. Choose another folder with --out."
            )


def _note(out: Path, names: Sequence[str]) -> None:
    """Writes down which files of the folder are a report's."""
    contents = json.dumps({"files": list(dict.fromkeys(names))}, indent=2) + "\n"
    write_atomically(out / CONTENTS, lambda partial: partial.write_text(contents, encoding="utf-8"))


def _read_stored(methods: Sequence[Method], dataset: Dataset, *, pictures: int, browser_images: int) -> _Pictures:
    """Goes through the test split once."""
    runs = [run for method in methods for run in method.runs]
    matrices = np.concatenate([method.matrices for method in methods])
    count, num_classes = matrices.shape[1], matrices.shape[2]
    found = _Pictures(dataset, np.zeros((len(runs), len(TRIMAP_WIDTHS), num_classes, num_classes), np.int64))
    browsed = set(browsed_images(methods, browser_images))
    first = np.cumsum([0, *(len(method.runs) for method in methods[:-1])]).tolist()
    shown = set(np.linspace(0, count - 1, min(pictures, count)).round().astype(int).tolist())
    with progress_bar("reading predictions", count) as advance:
        for index, each in enumerate(read_predictions(runs, dataset)):
            labels = each.sample.labels
            found.near += trimap_matrices_of_several(
                each.predictions, labels, num_classes=num_classes, widths=TRIMAP_WIDTHS
            )
            if index in browsed:
                found.images.append(browser_image(each, matrices[:, index]))
            if index in shown:
                found.rows.append(Predicted(each.sample, tuple(each.predictions[run] for run in first)))
            advance(1)
    return found


def _by_title(methods: Sequence[Method], per_run: np.ndarray) -> dict[str, np.ndarray]:
    """Title -> the part of [R, ...] that belongs to the runs of that method."""
    ends = np.cumsum([len(method.runs) for method in methods])[:-1]
    return dict(zip([method.title for method in methods], np.split(per_run, ends), strict=True))


def _class_names(methods: Sequence[Method]) -> list[str]:
    return methods[0].runs[0].result["class_names"]


def _subtitle(methods: Sequence[Method]) -> str:
    run = methods[0].runs[0]
    seeds = "; ".join(
        f"{m.title}: seed{'s' if len(m.seeds) > 1 else ''} {', '.join(map(str, m.seeds))}" for m in methods
    )
    return (
        f"{run.values['data']['name']}, {len(run.test[0])} test images, {len(_class_names(methods))} classes. {seeds}."
    )


def _finish(out: Path, files: Sequence[Path], earlier: Sequence[str], text: str) -> None:
    """Removes what only an earlier report wrote, notes what this one did, and writes the page."""
    names = [*(file.name for file in files), CONTENTS, PAGE]
    for name in set(earlier) - set(names):
        (out / name).unlink(missing_ok=True)
    _note(out, names)
    write_atomically(out / PAGE, lambda partial: partial.write_text(text, encoding="utf-8", newline=""))
