"""The report as text: paths are whole, counts say of what, and nothing is shown that was not looked at."""

from pathlib import Path

import pytest

from segkit.data import faults
from segkit.data.datasets.camvid import CLASSES
from segkit.data.faults import Fault
from segkit.data.verify.report import class_rows, report_lines
from segkit.data.verify.splits import Contents
from segkit.data.verify.verify import Report


def report(*faults, **splits):
    return Report({fault.kind: [fault] for fault in faults}, splits, CLASSES, images=3, seconds=1)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Fault(faults.MISSING, "data/mydata/data/x.png"), "mydata/data/x.png"),
        (
            Fault(faults.COPIES, "data/mydata/x.png", "as", "data/data/my data/y.png"),
            "mydata/x.png: as data/my data/y.png",
        ),
        (Fault(faults.COPIES, "other data/x.png", "as", "other data/y.png"), "other data/x.png: as other data/y.png"),
        (Fault(faults.LIST, "val", "data/val.txt is empty"), "val: val.txt is empty"),
    ],
)
def test_paths_lose_the_root_at_their_beginning_alone(fault, line):
    assert f"    {line}" in report_lines(report(fault), Path("data"))


def test_kinds_are_counted_and_called_so():
    lines = report_lines(
        report(Fault(faults.EMPTY, "a"), Fault(faults.ROTATED, "b"), Fault(faults.COPIES, "c")), Path("data")
    )
    assert lines[-2].endswith("found: 1 kind of problem, 2 kinds of warning.")


def test_a_split_without_a_readable_label_has_no_void_and_no_column():
    unread, void = Contents(2, {}, (0,) * 12, (0,) * 12), Contents(2, {}, (0,) * 11 + (7,), (0,) * 11 + (2,))
    read = Contents(1, {"2x4": 1}, (6, 1, *(0,) * 9, 1), (1, 1, *(0,) * 9, 1))
    found = report(train=read, val=unread, test=void)
    assert report_lines(found, Path("data"))[-5:-2] == [
        "train: 1 images, height x width 2x4, 12.5% void", "val: 2 images, height x width unknown",
        "test: 2 images, height x width unknown, 100.0% void",
    ]  # fmt: skip
    columns, rows = class_rows(found)
    assert (columns, rows[:3]) == (["class", "train"], [["sky", "85.71"], ["building", "14.29"], ["pole", "0.00"]])
