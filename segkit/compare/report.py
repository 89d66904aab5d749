"""A comparison as files: tables, figures, a picture of predictions, and one page with all of them. No model runs.

Every file is written whole or not at all. `report.json` lists the files of a report, so that a later one in the same
folder can remove what it did not write again and touches nothing else. It is written first, too, with the files to
come: an interrupted report can be written again. The page is written last.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from segkit.compare.browser_data import browsed_images, browser_data, browser_image
from segkit.compare.collect import Method
from segkit.compare.figures import draw, predictions_picture
from segkit.compare.page import page
from segkit.compare.stored import Predicted, read_predictions
from segkit.compare.tables import Table, write_tables
from segkit.data.dataset import Dataset
from segkit.errors import InputError
from segkit.metrics.boundary import TRIMAP_WIDTHS, trimap_matrices
from segkit.system.files import write_atomically, write_text
from segkit.tracking.console import progress_bar
from segkit.viz.charts import png, write_figure

PAGE, CONTENTS, PREDICTIONS = "index.html", "report.json", "predictions.png"
TABLES = ("table.md", "table.tex")  # what `write_tables` writes besides a CSV file for each table
FRAME_HEIGHT = 900  # pixels of the page within a notebook


@dataclass(frozen=True)
class Report:
    """The files that were written, the page last, and why others were left out. A notebook shows the page."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]

    def _repr_html_(self) -> str:
        # The page is given whole, since a notebook's server may not find the file. Without a base its links would lead
        # to the notebook.
        text = self.files[-1].read_text(encoding="utf-8").replace("<head>", '<head><base href="about:srcdoc">', 1)
        size = f'width="100%" height="{FRAME_HEIGHT}" style="border: 0"'
        return f'<iframe title="Comparison" srcdoc="{escape(text)}" {size}></iframe>'


def write_report(
    methods: Sequence[Method],
    out: Path,
    *,
    tables: Mapping[str, Table],
    verdicts: Sequence[str],
    costs: Mapping[str, Mapping[str, float]],
    open_dataset: Callable[[], Dataset],
    pictures: int = 4,
    browser_images: int = 240,
) -> Report:
    """Write the comparison of some methods into a folder.

    Parts that need the dataset or stored predictions are left out where these are missing or do not fit.

    Args:
        tables: name of the CSV file -> table.
        verdicts: sentences that say which differences are real.
        costs: label of an axis with its unit -> name of a method -> cost, for the figure of accuracy against cost.
        open_dataset: gives the test split, or raises InputError.
        pictures: test images in the picture of predictions.
        browser_images: images in the page, at most.
    Raises:
        InputError: if `out` holds a file of no earlier report that would be overwritten.
    """
    earlier = _earlier_files(out)
    names = [*(f"{name}.csv" for name in tables), *TABLES, CONTENTS, PAGE]
    _require_own(out, names, earlier)  # before the time that reading takes
    left_out, near, picture, browser = (), None, None, None
    try:
        dataset = open_dataset()
        near, rows, images = read_stored(methods, dataset, pictures=pictures, browser_images=browser_images)
        picture = png(predictions_picture(methods, rows, dataset).figure)
        browser = browser_data(methods, methods[0].class_names, dataset.palette, images, len(dataset))
    except InputError as error:
        left_out = (f"Left out: {PREDICTIONS}, the figure of boundaries and the comparison image by image: {error}",)
    drawings = draw(methods, costs=costs, near=near)
    names += [f"{drawing.name}.{kind}" for drawing in drawings for kind in ("png", "pdf")]
    names += [PREDICTIONS] if picture else []
    _require_own(out, names, earlier)
    _list_files(out, [*earlier, *names])
    files = write_tables(tables, methods, out)
    figures = []
    for drawing in drawings:
        written = write_figure(drawing.figure, out / drawing.name)
        figures.append((drawing, written[0].read_bytes()))
        files += written
    if picture:
        write_atomically(out / PREDICTIONS, lambda partial: partial.write_bytes(picture))
        files.append(out / PREDICTIONS)
    run = methods[0].runs[0]
    about = f"{run.values['data']['name']}, {len(run.test[0])} test images, {len(methods[0].class_names)} classes"
    seeds = [f"{m.name}: seed{'s' * (len(m.seeds) > 1)} {', '.join(map(str, m.seeds))}" for m in methods]
    text = page(
        f"Comparison: {', '.join(method.name for method in methods)}",
        subtitle=f"{about}. {'; '.join(seeds)}.",
        tables=tables,
        figures=figures,
        verdicts=verdicts,
        notes=left_out,
        browser=browser,
    )
    files += [out / CONTENTS, out / PAGE]
    for name in set(earlier) - {file.name for file in files}:
        (out / name).unlink(missing_ok=True)
    _list_files(out, [file.name for file in files])
    write_text(out / PAGE, text)
    return Report(tuple(files), left_out)


def _earlier_files(out: Path) -> list[str]:
    """Names of the files that an earlier report wrote there."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; expected a folder. Choose another one.")
    try:
        names = json.loads((out / CONTENTS).read_text(encoding="utf-8"))["files"]
        return [name for name in names if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _require_own(out: Path, names: Sequence[str], earlier: Sequence[str]) -> None:
    """Raise InputError if one of these files exists and no earlier report wrote it."""
    for name in names:
        if (out / name).exists() and name not in earlier:
            raise InputError(
                f"{out / name} exists and is not of an earlier report; nothing was written. "
                "Choose another folder with --out."
            )


def _list_files(out: Path, names: Sequence[str]) -> None:
    """List the files of the folder that belong to a report in report.json."""
    write_text(out / CONTENTS, json.dumps({"files": list(dict.fromkeys(names))}, indent=2) + "\n")


def read_stored(
    methods: Sequence[Method], dataset: Dataset, *, pictures: int, browser_images: int
) -> tuple[list[np.ndarray], list[Predicted], list[dict[str, Any]]]:
    """Read the test split and all stored predictions once.

    Returns:
        For each method the confusion matrices of its runs near label boundaries, int64 [S, D, K, K]; the samples of the
        picture, with the predictions of each method's first run; the images of the browser.
    """
    runs = [run for method in methods for run in method.runs]
    matrices = np.concatenate([method.matrices for method in methods])  # [R, N, K, K]
    count, num_classes = matrices.shape[1], matrices.shape[2]
    starts = np.cumsum([0, *(len(method.runs) for method in methods[:-1])]).tolist()  # the first run of each method
    near = np.zeros((len(runs), len(TRIMAP_WIDTHS), num_classes, num_classes), np.int64)
    rows, images = [], []
    browsed = set(browsed_images(methods, browser_images))
    shown = set(np.linspace(0, count - 1, min(pictures, count)).round().astype(int).tolist())
    with progress_bar("reading predictions", count) as advance:
        for index, each in enumerate(read_predictions(runs, dataset)):
            labels = each.sample.labels
            near += trimap_matrices(each.predictions, labels, num_classes=num_classes, widths=TRIMAP_WIDTHS)
            if index in browsed:
                images.append(browser_image(each, matrices[:, index]))
            if index in shown:
                rows.append(Predicted(each.sample, tuple(each.predictions[run] for run in starts)))
            advance(1)
    return np.split(near, starts[1:]), rows, images
