"""`segkit evaluate` from a trained run to the printed tables, with weights that predict one class alone: every number
by hand."""

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from segkit import load_config, train
from segkit.metrics.conventions import CONVENTIONS
from segkit.tensors import IGNORE

ROAD, SKY, CAR = range(3)


def halves(left, right):
    """32x48 pixels, a diagonal of 57.7."""
    return np.array([left, right], np.uint8).repeat(24)[None].repeat(32, 0)


SPLITS = {
    "train": [halves(ROAD, SKY), halves(CAR, SKY)],
    "val": [halves(ROAD, CAR)],
    "test": [halves(ROAD, SKY), halves(ROAD, IGNORE)],  # no car
}


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_config):
    """A run that was trained for one epoch on three classes."""
    root = tmp_path_factory.mktemp("classes")
    (root / "classes.yaml").write_text("[road, sky, car]")
    for split, maps in SPLITS.items():
        for index, labels in enumerate(maps):
            for kind in ("images", "labels"):
                path = root / split / kind / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels).save(path)
    (root / "config.yaml").write_text(f"name: three{tiny_config}")
    changes = [f"data={{name: folder, root: {root}}}", "training.epochs=1", "training.batch_size=2"]
    changes.append("model.decoder={name: fcn32s, head_width: 16, upsampling: fixed}")
    train(load_config(root / "config.yaml", changes), root / "run")
    return root / "run"


@pytest.fixture
def always(run):
    """Writes weights for the run that predict one class in every pixel, and returns their file."""

    def write(predicted):
        weights = load_file(run / "checkpoints/best.safetensors")
        weights["decoder.score_fr.weight"].zero_()
        weights["decoder.score_fr.bias"].zero_()[predicted] = 1
        save_file(weights, run.parent / f"always_{predicted}.safetensors")
        return run.parent / f"always_{predicted}.safetensors"

    return write


def rows_of(text, first_column):
    """Cells of the rows of a printed table."""
    table = text.split(f"┃ {first_column} ")[1].split("└")[0]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]


def test_weights_from_a_file_are_scored_in_place_of_the_runs_own_and_the_run_stays_as_it_is(segkit, run, always):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, out, errors = segkit("evaluate", run, "--weights", always(ROAD))
    assert (code, errors) == (0, "")
    assert f"{run}with{always(ROAD)}:test,2images" in "".join(out.split())  # the title is as narrow as the table
    # 1536 pixels of road, 768 of sky; all are predicted as road
    assert rows_of(out, "class") == [["road", "66.7", "100.0"], ["sky", "0.0", "0.0"], ["car", "-", "-"]]
    summary = "global 66.7  class average 50.0  mean IoU 33.3  frequency-weighted IoU 44.4  (2 classes averaged)"
    assert out.splitlines()[-1] == summary
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_every_convention_has_its_row_and_its_reason(segkit, run, always):
    code, out, errors = segkit("evaluate", run, "--convention", "all", "--weights", always(ROAD))
    assert (code, errors) == (0, "")
    assert [row[:5] for row in rows_of(out, "convention")] == [
        ["fcn", "66.7", "50.0", "33.3", "2"],
        ["segnet", "66.7", "33.3", "22.2", "3"],
        ["voc", "66.7", "-", "-", "3"],
        ["detectron2", "66.7", "50.0", "33.3", "2"],
        ["paddleseg", "66.7", "-", "55.6", "3"],
    ]
    assert out.splitlines()[-1] == (
        "'car' is in neither labels nor predictions: fcn, detectron2: leaves it out; segnet: counts IoU 0; voc: has no mean; "
        "paddleseg: counts IoU 1."
    )
    assert "boundaries" not in out


@pytest.mark.parametrize(
    ("split", "convention", "predicted", "scores", "reason"),
    [
        ("test", "segnet", CAR, {("fcn", "0.0", "0.0", "3"), ("segnet", "0.0", "0.0", "3")},
         "'car' is only predicted: fcn, segnet, voc, paddleseg: counts IoU 0; detectron2: leaves it out."),
        # sky is half of either image: IoU 1/2, and 0 of the others
        ("train", "all", SKY, {(name, "50.0", "16.7", "3") for name in CONVENTIONS},
         "Every class is in the labels: all conventions agree."),
    ],
    ids=["one beside the default", "all agree"],
)  # fmt: skip
def test_conventions_are_told_apart_where_they_differ(
    segkit, run, always, split, convention, predicted, scores, reason
):
    options = ("--split", split, "--convention", convention, "--weights", always(predicted))
    code, out, errors = segkit("evaluate", run, *options)
    assert (code, errors) == (0, "")
    assert {(row[0], row[1], row[3], row[4]) for row in rows_of(out, "convention")} == scores
    assert out.splitlines()[-1] == reason


def test_boundaries_are_measured_with_void_left_out(segkit, run, always):
    code, out, errors = segkit("evaluate", run, "--boundary", "--weights", always(ROAD))
    assert (code, errors) == (0, "")
    measured = dict(rows_of(out, "measure"))
    # road next to sky has a boundary that nothing predicted matches; road next to void is right, but by SegNet's script
    assert [value for name, value in measured.items() if name.startswith("BF")] == ["0.0", "50.0", "50.0", "50.0"]
    # bands of 1 pixel. Road: 32 x 24 has 108, 32 x 48 has 156, both have 78; then 108 of 108. Sky: 0 of 108
    assert measured["boundary IoU"] == "31.6"  # (78 + 108) / (108 + 156 - 78 + 108) / 2
    for width in (1, 2, 4, 8, 16):
        assert measured[f"global accuracy within {width} pixels of a boundary"] == "50.0"
        assert measured[f"mean IoU within {width} pixels of a boundary"] == "25.0"
    assert "conventions" not in out


def test_an_unknown_convention_is_refused_with_those_that_exist(segkit, tmp_path):
    code, out, errors = segkit("evaluate", tmp_path, "--convention", "cityscapes")
    assert (code, out) == (2, "")
    named = ("--convention", "cityscapes", "fcn", "segnet", "voc", "detectron2", "paddleseg", "all")
    assert all(f"'{name}'" in errors for name in named)


def test_weights_that_do_not_exist_are_named(segkit, run):
    code, _, errors = segkit("evaluate", run, "--weights", "nowhere.safetensors")
    assert code == 2
    assert errors.startswith("segkit: weights nowhere.safetensors do not exist")
