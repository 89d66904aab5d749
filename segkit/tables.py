"""Rows of the tables that the command line prints."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from segkit import build
from segkit.config import flat
from segkit.data.class_weights import MedianFrequency, SegNetPublished
from segkit.metrics import boundary
from segkit.metrics.boundary import TRIMAP_WIDTHS
from segkit.metrics.confusion import scores
from segkit.metrics.conventions import CONVENTIONS, convention_scores
from segkit.run import count_labels
from segkit.schema import Experiment, experiment_values
from segkit.signatures import show
from segkit.tracking.console import percent


def shown_values(experiment: Experiment, sources: dict[str, str]) -> list[str]:
    """`key = value  # source` for every value of an experiment."""
    values = flat(experiment_values(experiment))
    lines = [f"{key} = {show(value)}" for key, value in values.items()]
    width = min(72, max(map(len, lines)))
    found = [sources.get(key) or sources.get(key.removesuffix(".name")) or "default" for key in values]
    return [f"{line:<{width}}  # {source}" for line, source in zip(lines, found, strict=True)]


def class_weight_rows(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of pixel counts and weights: a row per class, and one for void.

    Then the largest difference from SegNet's published weights, and what each normalizer of the loss does to a learning rate that was
    found with `valid_pixels`: multiplied so, its steps stay as long.
    """
    dataset = build.build_dataset(experiment, "train")
    counts = count_labels(dataset, "train")
    weights = {
        "this config": build.build_class_weights(experiment),
        "median over classes": MedianFrequency(),
        "median incl. void": MedianFrequency(median_over="classes_and_void"),
        "labelled pixels": MedianFrequency(pixels="labelled"),
        "all images": MedianFrequency(images="all"),
        "all images incl. void": MedianFrequency(images="all", median_over="classes_and_void"),
    }
    if dataset.class_names == tuple(SegNetPublished.weights):
        weights["SegNet, published"] = SegNetPublished()
    values = [weighting(counts, dataset.class_names) for weighting in weights.values()]
    share = np.array(counts.pixels) / sum(counts.pixels)
    rows = []
    for index, name in enumerate([*dataset.class_names, "void"]):
        row = [name, f"{counts.pixels[index]:,}", f"{100 * share[index]:.2f}", f"{counts.images[index]}"]
        rows.append(row + [f"{column[index]:.4f}" if index < len(column) else "ignored" for column in values])
    if "SegNet, published" in weights:
        off = [np.abs(np.array(column) - np.array(values[-1])).max() for column in values]
        rows.append(["off SegNet's by up to", "", "", "", *(f"{difference:.2f}" for difference in off)])
    labelled = np.array(counts.pixels[:-1])
    mean_weights = [column @ labelled / labelled.sum() for column in values]  # of a labelled pixel: loss by valid_pixels / by weight_sum
    rows.append(["rate for weight_sum", "", "", "", *(f"x {mean:.4f}" for mean in mean_weights)])
    per_image = labelled.sum() / counts.total_images
    rows.append(["rate for batch", "", "", "", *(f"/ {per_image:,.0f}" for _ in values)])
    return ["class", "pixels", "% of pixels", f"images of {counts.total_images}", *weights], rows


def convention_rows(matrix: np.ndarray, wanted: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of scores of an int64 confusion matrix [K, K] under some conventions."""
    rows = []
    for name in wanted:
        found = convention_scores(matrix, CONVENTIONS[name])
        values = map(percent, (found.global_accuracy, found.class_average_accuracy, found.mean_iou))
        rows.append([name, *values, str(found.classes_averaged), CONVENTIONS[name].source])
    return ["convention", "global accuracy", "class average accuracy", "mean IoU", "classes averaged", "source"], rows


@dataclass
class BoundaryMeasures:
    """Boundary measures of one image after the other; pass `add` to `evaluate_trained` as its observer.

    Attributes:
        num_classes: K.
        scripted: counts of BF as in SegNet's script, where what is predicted in void counts as wrong, [K, 4] per image.
        exact: counts of BF without void, [K, 4] per image.
        fast: counts of BF by distance alone, [K, 4] per image.
        bands: counts of boundary IoU, [K, 2] per image.
        trimaps: confusion matrices near boundaries, summed over images, [D, K, K].
    """

    num_classes: int
    scripted: list[np.ndarray] = field(default_factory=list)
    exact: list[np.ndarray] = field(default_factory=list)
    fast: list[np.ndarray] = field(default_factory=list)
    bands: list[np.ndarray] = field(default_factory=list)
    trimaps: np.ndarray | int = 0

    def add(self, _: str, predicted: np.ndarray, labels: np.ndarray) -> None:
        """Measures one image: class ids [H, W] twice, 255 = ignored in `labels`."""
        self.scripted.append(boundary.bf_counts(predicted, labels, num_classes=self.num_classes, void="predicted"))
        self.exact.append(boundary.bf_counts(predicted, labels, num_classes=self.num_classes))
        self.fast.append(boundary.bf_counts(predicted, labels, num_classes=self.num_classes, matching="distance"))
        self.bands.append(boundary.band_counts(predicted, labels, num_classes=self.num_classes))
        matrices = boundary.trimap_matrices(predicted, labels, num_classes=self.num_classes, widths=TRIMAP_WIDTHS)
        self.trimaps = self.trimaps + matrices

    def rows(self) -> list[list[str]]:
        """Name and value in per cent of each measure."""
        kept = ((self.scripted, 4), (self.exact, 4), (self.fast, 4), (self.bands, 2))
        scripted, exact, fast, bands = (np.array(counts).reshape(-1, self.num_classes, width) for counts, width in kept)  # also of no image
        trimaps = self.trimaps + np.zeros((len(TRIMAP_WIDTHS), self.num_classes, self.num_classes), np.int64)
        rows = [
            ["BF of SegNet's script: what is predicted in void is wrong", percent(boundary.bf(scripted))],
            ["BF, void left out", percent(boundary.bf(exact))],
            ["BF, void left out, classes in the labels (SegNet's paper)", percent(boundary.bf(exact, variant="paper"))],
            ["BF, void left out, by distance alone", percent(boundary.bf(fast))],
            ["boundary IoU", percent(boundary.boundary_iou(bands))],
        ]
        for width, matrix in zip(TRIMAP_WIDTHS, trimaps, strict=True):
            near = scores(matrix)
            rows.append([f"global accuracy within {width} pixels of a boundary", percent(near.global_accuracy)])
            rows.append([f"mean IoU within {width} pixels of a boundary", percent(near.mean_iou)])
        return rows
