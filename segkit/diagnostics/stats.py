"""Statistics of the splits of a config's dataset: as values for JSON, as tables and as a figure."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit import build
from segkit.config.schema import RunConfig
from segkit.data.class_weights import ClassCounts
from segkit.data.layout import SPLITS
from segkit.data.statistics import SplitStatistics, split_statistics
from segkit.diagnostics.printed_tables import class_weight_rows, class_weight_variants, mean_weight
from segkit.models.features import NORMALIZATIONS
from segkit.system.files import write_text
from segkit.tracking.console import progress_bar
from segkit.viz.charts import write_figure
from segkit.viz.data_charts import dataset_figure

Rows = tuple[str, list[str], list[list[str]]]  # title, columns, rows of a table


def read_splits(config: RunConfig, splits: Sequence[str] | None = None) -> dict[str, SplitStatistics]:
    """Return statistics of splits; show a progress bar while they are read.

    Args:
        splits: None: all, except a test split that is the same as the val split.
    Raises:
        InputError: if one of their files cannot be used.
    """
    layout = build.build_layout(config)
    splits = splits or (SPLITS if layout is None else layout.distinct)
    found = {}
    for split, dataset in build.build_splits(config, layout, splits).items():
        with progress_bar(f"reading {split}", len(dataset)) as advance:
            found[split] = split_statistics(dataset, advance)
    return found


def stats_values(config: RunConfig, found: dict[str, SplitStatistics]) -> dict[str, Any]:
    """Return all statistics, ready for JSON. Shares are 0..1; null stands for values that do not exist.

    dataset: its name in the config; class_names: [K].
    splits: split -> {
        images: N;
        sizes: [{height, width, images}], most frequent first;
        height, width: {min, median, max}, pixels;
        classes: [{name, pixels, share (of all pixels), images (that hold it), share_of_images, median_share (of an
            image's pixels, over the images that hold it)}], the last one void;
        mean, std: RGB, of all pixels, 0..255 scale; mean_of_1, std_of_1: the same, 0..1 scale}
    class_weights: null without the train split, else {
        labelled_pixels_per_image: divisor of a learning rate for loss normalizer `batch` instead of `valid_pixels`;
        variants: variant -> {weights: class -> weight, mean: of the weights over labelled pixels, the factor of a
            learning rate for loss normalizer `weight_sum` instead of `valid_pixels`}}
    normalizations: name of an encoder's normalization -> {mean, std}, RGB, 0..255 scale.
    """
    names = build.build_classes(config).names
    training, weights = found.get("train"), None
    if training is not None:
        counts = training.counts
        weights = {"labelled_pixels_per_image": sum(counts.pixels[:-1]) / counts.total_images, "variants": {}}
        for variant, values in class_weight_variants(config, counts).items():
            of_classes = dict(zip(names, values.tolist(), strict=True))
            weights["variants"][variant] = {"weights": of_classes, "mean": mean_weight(values, counts)}
    return {
        "dataset": config.data.name,
        "class_names": list(names),
        "splits": {split: _split_values(statistics, names) for split, statistics in found.items()},
        "class_weights": weights,
        "normalizations": {key: {"mean": [*each.mean], "std": [*each.std]} for key, each in NORMALIZATIONS.items()},
    }


def _split_values(found: SplitStatistics, names: Sequence[str]) -> dict[str, Any]:
    counts, medians = found.counts, found.median_shares
    sizes = sorted(Counter(map(tuple, found.sizes.tolist())).items(), key=lambda item: (-item[1], item[0]))
    classes, total = [], sum(counts.pixels)
    for name, pixels, images, median in zip([*names, "void"], counts.pixels, counts.images, medians, strict=True):
        shares = {"share": pixels / total, "images": images, "share_of_images": images / counts.total_images}
        classes.append({"name": name, "pixels": pixels, **shares, "median_share": median})
    return {
        "images": counts.total_images,
        "sizes": [{"height": height, "width": width, "images": images} for (height, width), images in sizes],
        "height": _range(found.sizes[:, 0]),
        "width": _range(found.sizes[:, 1]),
        "classes": classes,
        "mean": list(found.mean),
        "std": list(found.std),
        "mean_of_1": [value / 255 for value in found.mean],
        "std_of_1": [value / 255 for value in found.std],
    }


def _range(values: np.ndarray) -> dict[str, Any]:
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}


def stats_tables(config: RunConfig, found: dict[str, SplitStatistics]) -> list[Rows]:
    """Return the statistics as tables that fit 80 columns of a terminal if class names are short."""
    values = stats_values(config, found)
    sizes = []
    for split, each in values["splits"].items():
        most, sides = each["sizes"][0], (each["height"], each["width"])
        ranges = ("{min}..{max} ({median:g})".format(**side) for side in sides)
        common = f"{most['height']}x{most['width']} ({most['images']})"
        sizes.append([split, f"{each['images']:,}", f"{len(each['sizes']):,}", *ranges, common])
    columns = ["split", "images", "sizes", "height\n(median)", "width\n(median)", "most common\nheight x width"]
    tables = [("sizes, pixels", columns, sizes)]
    for split, each in values["splits"].items():
        rows = []
        for one in each["classes"]:
            of_pixels = [f"{one['pixels']:,}", f"{100 * one['share']:.2f}"]
            of_images = [f"{one['images']:,}", f"{100 * one['share_of_images']:.1f}"]
            median = "-" if one["median_share"] is None else f"{100 * one['median_share']:.2f}"
            rows.append([one["name"], *of_pixels, *of_images, median])
        columns = ["class", "pixels", "% of pixels", "images", "% of images", "median % in\nthose images"]
        tables.append((f"{split}: classes", columns, rows))
    for scale, decimals in ((255, 2), (1, 4)):
        rows = []
        for name, each in (values["splits"] | values["normalizations"]).items():
            shown = [[f"{value * scale / 255:.{decimals}f}" for value in each[key]] for key in ("mean", "std")]
            rows.append([name, *map(" ".join, shown)])
        title = f"pixel values and encoders' normalizations, 0 to {scale}"
        tables.append((title, ["split or normalization", "mean of R, G, B", "std of R, G, B"], rows))
    if "train" in found:
        tables.append(weight_table(config, found["train"].counts))
    return tables


def weight_table(config: RunConfig, counts: ClassCounts | None = None) -> Rows:
    """Return `class_weight_rows` as a narrow table, without the shares of pixels."""
    columns, rows = class_weight_rows(config, counts)
    words = [column.replace(" ", "\n") for column in (columns[0], *columns[2:])]
    return "class weights, from the training labels", words, [[row[0], *row[2:]] for row in rows]


def write_stats(values: dict[str, Any], out: Path) -> list[Path]:
    """Write OUT/stats.json, and OUT/stats.png and OUT/stats.pdf with its figure. Return the files."""
    write_text(out / "stats.json", json.dumps(values, indent=2))
    return [out / "stats.json", *write_figure(dataset_figure(values["splits"]), out / "stats")]
