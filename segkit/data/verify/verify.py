"""Checks of a whole dataset: everything decoded for `segkit data verify`, or every label read once before training."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from time import perf_counter

import numpy as np

from segkit.data import faults
from segkit.data.class_weights import ClassCounts, LabelRow, cached_count, class_counts, read_label_rows
from segkit.data.classes import Classes
from segkit.data.dataset import Dataset
from segkit.data.faults import DataError, Fault, Kind
from segkit.data.layout import Layout
from segkit.data.threads import in_threads
from segkit.data.verify.sample import check_header, look, look_at_labels, only_first_and_void
from segkit.data.verify.splits import (
    Contents,
    class_faults,
    contents,
    copy_faults,
    list_faults,
    sample_faults,
    unlisted_faults,
)

LEVELS = ("problem", "warning", "note")


@dataclass(frozen=True)
class Report:
    """Findings in a dataset.

    Attributes:
        entries: findings of each kind: problems, then warnings, then notes.
        splits: contents of each split that has samples.
        classes: expected classes of the labels.
        images: number of checked images.
        seconds: duration of the checks.
    """

    entries: Mapping[Kind, Sequence[Fault]]
    splits: Mapping[str, Contents]
    classes: Classes
    images: int
    seconds: float

    @property
    def right(self) -> bool:
        """True if there is no reason not to train."""
        return not any(kind.level == "problem" for kind in self.entries)


def verify(layout: Layout, *, workers: int, progress: Callable[[int], None]) -> Report:
    """Decode every image and label, and report everything that is wrong, suspicious or worth knowing.

    About two kilobytes are kept for each sample.

    Args:
        workers: number of threads; they run in parallel while decoding and hashing.
        progress: called with 1 for every sample.
    """
    started, looks, classes = perf_counter(), {}, layout.classes
    for split in layout.distinct:
        dataset, looks[split] = layout.unchecked(split), []
        for each in in_threads(partial(look, dataset), len(dataset), workers):
            looks[split].append(each)
            progress(1)
    found = {split: contents(samples, classes, layout.reduction) for split, samples in looks.items() if samples}
    every = chain(
        list_faults(layout),
        sample_faults(looks, classes),
        class_faults(found, classes),
        copy_faults(looks, layout.image_key),
        _editions(layout, looks),
        unlisted_faults(layout),
    )
    images = sum(map(len, looks.values()))
    return Report(_by_kind(every), found, classes, images, perf_counter() - started)


def _editions(layout: Layout, splits: Iterable[str]) -> Iterator[Fault]:
    for split in splits:
        with suppress(OSError):  # a missing file, which is reported elsewhere
            if edition := layout.edition(split):
                yield Fault(faults.EDITION, split, edition)


def _by_kind(found: Iterable[Fault]) -> dict[Kind, list[Fault]]:
    grouped: dict[Kind, list[Fault]] = defaultdict(list)
    for fault in found:
        grouped[fault.kind].append(fault)
    order = [kind for kind in vars(faults).values() if isinstance(kind, Kind)]
    kinds = sorted(grouped, key=lambda kind: (LEVELS.index(kind.level), order.index(kind)))
    return {kind: grouped[kind] for kind in kinds}


def check_and_count(
    layout: Layout | None, splits: Mapping[str, Dataset], progress: Callable[[int], object] = lambda _: None
) -> dict[str, ClassCounts]:
    """Check a dataset before training, and count the pixels of each class of each split, for class weights.

    The header of every image and every label are read once. Labels that were counted before are recognized by their
    bytes and not decoded again. No image is decoded, and nothing is random.

    Args:
        layout: layout whose lists were already checked; None for datasets that are not read from files.
        progress: called with 1 for every label.
    Raises:
        InputError: if an image or label cannot be used, or a whole split is void.
    """
    if layout is None:
        counts = {split: cached_count(dataset, progress) for split, dataset in splits.items()}
    else:
        counts, looks = {}, {}
        for split in layout.distinct:
            dataset, looks[split], rows = layout.unchecked(split), [], []
            for index, row in enumerate(read_label_rows(dataset)):
                looks[split].append(check_header(dataset, index, row))
                rows += [row.pixels] if isinstance(row, LabelRow) else []
                progress(1)
            if rows:
                counts[split] = class_counts(np.array(rows))
        # Counts do not show the id of void. If all training labels look like 0/255 masks, check their ids.
        pixels = [each.pixels for each in looks["train"]]
        if any(map(only_first_and_void, pixels)) and not any(any(each[1:-1]) for each in pixels):
            again = in_threads(partial(look_at_labels, layout.unchecked("train")), len(pixels))
            both = zip(looks["train"], again, strict=True)
            looks["train"] = [replace(known, faults=known.faults + new.faults) for known, new in both]
        found = [fault for fault in sample_faults(looks, layout.classes) if fault.kind.level == "problem"]
        counts |= {"test": counts["val"]} if "test" not in layout.distinct else {}
        if found:
            raise DataError(*found)
    for split, each in counts.items():
        if not any(each.pixels[:-1]):
            raise DataError(Fault(faults.ALL_VOID, split, f"all {each.total_images} label maps are void"))
    return {split: counts[split] for split in splits}
