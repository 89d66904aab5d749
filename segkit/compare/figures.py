"""The figures of a comparison: what `segkit.viz.charts` draws, from the records and confusion matrices of the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from segkit.compare.collect import Method
from segkit.metrics.boundary import TRIMAP_WIDTHS
from segkit.metrics.confusion import scores
from segkit.viz import charts

LOSS_POINTS = 40  # of a curve of the training loss
CSS_DPI = 96  # pixels per inch on a web page


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its files, and what it shows in a sentence or two. A notebook shows the figure."""

    name: str
    figure: Figure
    caption: str

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.figure.get_size_inches()
        return charts.png(self.figure), {"width": round(CSS_DPI * width), "height": round(CSS_DPI * height)}


def draw(
    methods: Sequence[Method],
    *,
    costs: Mapping[str, Mapping[str, float]],
    near: Mapping[str, np.ndarray] | None,
) -> list[Drawing]:
    """The figures of some methods.

    Args:
        costs: more costs besides parameters and training time: label of the axis with its unit -> title of a method ->
            cost.
        near: title of a method -> int64 [S, D, K, K], confusion matrices of its runs within TRIMAP_WIDTHS pixels of a
            label boundary, summed over images. None: no figure of boundaries.
    """
    names = methods[0].runs[0].result["class_names"]
    repeated = any(len(method.runs) > 1 for method in methods)
    bars = " Bars: one standard deviation over runs." if repeated else ""
    figure = charts.accuracy_against_cost(_mean_iou(methods), _costs(methods) | dict(costs))
    found = [Drawing("cost", figure, f"Accuracy against cost.{bars}")]
    if near is not None:
        figure = charts.accuracy_near_boundaries(_near_boundaries(methods, near), TRIMAP_WIDTHS)
        about = "Scores of the pixels within some distance of a boundary in the labels (trimap), and of all pixels."
        found.append(Drawing("boundary", figure, about + bars))
    bands = " Bands: lowest to highest run." if repeated else ""
    figure = charts.learning_curves(
        {"validation mean IoU (%)": _validation(methods), "training loss": _training_loss(methods)}
    )
    about = f"Learning curves. The loss is averaged over up to {LOSS_POINTS} stretches of the training."
    found.append(Drawing("learning", figure, about + bands))
    found.append(
        Drawing(
            "class_iou",
            charts.class_iou({method.title: 100 * method.class_iou for method in methods}, names),
            f"IoU of each class.{bars}",
        )
    )
    figure = charts.confusion({method.title: method.matrices.sum((0, 1)) for method in methods}, names)
    about = "Confusion matrices of all runs together: where the pixels of each labelled class (row) went, in per cent."
    return [*found, Drawing("confusion", figure, about)]


def training_history(methods: Sequence[Method]) -> Drawing:
    """How training went: loss, learning rate and gradient norm of the steps that were recorded, and validation mean
    IoU."""
    panels = {
        "training loss": _training_loss(methods),
        "validation mean IoU (%)": _validation(methods),
        "learning rate": {method.title: _curve(method, "train", "lr") for method in methods},
        "gradient norm": {method.title: _curve(method, "train", "gradient_norm") for method in methods},
    }
    about = f"The loss is averaged over up to {LOSS_POINTS} stretches of the training; the gradient norm is that before clipping."
    return Drawing("history", charts.learning_curves(panels), about)


def _mean_iou(methods: Sequence[Method]) -> dict[str, np.ndarray]:
    return {method.title: np.array([100 * run.scores.mean_iou for run in method.runs]) for method in methods}


def _costs(methods: Sequence[Method]) -> dict[str, dict[str, float]]:
    return {
        "parameters (millions)": {method.title: method.runs[0].result["parameters"] / 1e6 for method in methods},
        "training time (minutes)": {
            m.title: float(np.mean([run.result["seconds"] for run in m.runs])) / 60 for m in methods
        },
    }


def _near_boundaries(methods: Sequence[Method], near: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Score -> title -> [S, D + 1]: near boundaries, then of all pixels."""
    found: dict[str, dict[str, np.ndarray]] = {"global accuracy (%)": {}, "mean IoU (%)": {}}
    for method in methods:
        matrices = np.concatenate([near[method.title], method.matrices.sum(1)[:, None]], axis=1)
        values = [[scores(matrix) for matrix in of_run] for of_run in matrices]
        found["global accuracy (%)"][method.title] = 100 * np.array(
            [[each.global_accuracy for each in line] for line in values]
        )
        found["mean IoU (%)"][method.title] = 100 * np.array([[each.mean_iou for each in line] for line in values])
    return found


def _validation(methods: Sequence[Method]) -> dict[str, charts.Curve]:
    curves = {method.title: _curve(method, "validation", "mean_iou") for method in methods}
    return {title: (steps, 100 * values) for title, (steps, values) in curves.items()}


def _training_loss(methods: Sequence[Method]) -> dict[str, charts.Curve]:
    """Single batches scatter: the records are cut into equal stretches, and a point is the mean of one, at its
    middle."""
    found = {}
    for method in methods:
        steps, values = _curve(method, "train", "loss")
        stretches = np.array_split(np.arange(len(steps)), min(LOSS_POINTS, max(1, len(steps))))
        means = np.stack([values[:, part].mean(1) for part in stretches], axis=1) if len(steps) else values
        found[method.title] = ([float(np.mean(steps[part])) for part in stretches if len(part)], means)
    return found


def _curve(method: Method, kind: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [T] that every run has a record of, and the values there, [S, T]."""
    runs = [
        {record["step"]: record[key] for record in run.folder.records(kind) if record[key] is not None}
        for run in method.runs
    ]
    steps = sorted(set.intersection(*(set(records) for records in runs)))
    return np.array(steps, int), np.array([[records[step] for step in steps] for records in runs], float)
