"""A report says what the run folders hold, and harms nothing."""

import base64
import csv
import io
import json
import re
import shutil
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from segkit.compare import report as compare_report
from segkit.compare.browser_data import browsed_images, browser_image
from segkit.compare.collect import read_methods
from segkit.compare.figures import Drawing
from segkit.compare.stored import Predicted
from segkit.compare.tables import Table
from segkit.data.dataset import Sample
from segkit.data.files.images import read_index_mask
from segkit.errors import InputError
from segkit.experiments.comparison import open_test_split
from segkit.metrics.boundary import trimap_matrices

HOSTILE = "</script><b>\"'&amp; ü \u2028 $title $$ {x}"
FIGURES = ("cost", "boundary", "learning", "class_iou", "confusion")


def embedded(folder):
    """What the page holds for its script."""
    text = (folder / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def unpack(text, image):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(image["height"], image["width"])


def stored(run):
    with np.load(run / "confusion_test.npz") as file:
        return file["ids"].tolist(), file["matrices"]


@pytest.fixture
def undrawn(monkeypatch):
    """Reports have one empty figure: drawing takes most of their time."""
    monkeypatch.setattr(compare_report, "draw", lambda *_, **__: [Drawing("cost", Figure(), "")])


class Page(HTMLParser):
    """Elements of a page, and its text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.sources = [""], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self.tags[-1] not in ("script", "style"):
            self.texts.append(data)


def test_everything_that_is_listed_was_written_and_nothing_else(report):
    names = json.loads((report / "report.json").read_text())["files"]
    assert sorted(names) == sorted(path.name for path in report.iterdir())
    assert {f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")} < set(names)
    assert {"scores.csv", "classes.csv", "table.md", "table.tex", "predictions.png"} < set(names)
    assert names[-1] == "index.html"


def test_counts_in_the_page_give_the_iou_of_every_image_class_and_run(report, trained):
    data, (ids, _) = embedded(report), stored(trained[0])
    assert [image["id"] for image in data["images"]] == ids
    assert [(run["method"], run["seed"]) for run in data["runs"]] == [("fcn32s", 0), ("fcn32s", 1), ("fcn8s", 0)]
    for run, path in enumerate(trained):
        for image, matrix in zip(data["images"], stored(path)[1], strict=True):
            for index in range(len(data["classes"])):
                correct = image["correct"][run][index]
                assert correct == matrix[index, index]
                union = image["labelled"][index] + image["predicted"][run][index] - correct
                assert union == matrix[index].sum() + matrix[:, index].sum() - matrix[index, index]


def test_label_maps_in_the_page_are_the_stored_predictions_and_the_labels(report, trained, methods):
    dataset = open_test_split(methods)
    for index, image in enumerate(embedded(report)["images"]):
        np.testing.assert_array_equal(unpack(image["label"], image), dataset[index].labels)
        for text, path in zip(image["predictions"], trained, strict=True):
            with Image.open(path / f"predictions/test/{image['id']}.png") as file:
                np.testing.assert_array_equal(unpack(text, image), np.asarray(file))
        with Image.open(io.BytesIO(base64.b64decode(image["jpeg"]))) as picture:
            assert (picture.format, picture.size) == ("JPEG", (48, 32))
            assert np.abs(np.asarray(picture).astype(int) - dataset[index].image).mean() < 20


def test_a_wide_image_is_shrunk_and_its_ids_stay_ids_but_counts_are_of_all_pixels():
    labels = np.repeat(np.array([[0, 2, 255, 1]], np.uint8), 325, axis=1).repeat(100, axis=0)
    sample = Sample("wide", np.zeros((*labels.shape, 3), np.uint8), labels)
    matrix = np.diag([32500, 32500, 32500])
    image = browser_image(Predicted(sample, (labels,)), matrix[None])
    assert (image["width"], image["height"]) == (640, 49)
    assert np.unique(unpack(image["label"], image), return_counts=True)[0].tolist() == [0, 1, 2, 255]
    assert image["labelled"] == [32500, 32500, 32500]


def test_the_page_needs_no_other_file_and_has_every_cell_of_the_tables(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    kinds = {source.split(",")[0] for source in page.sources}
    assert kinds == {"data:", "data:image/png;base64", "#tables", "#figures", "#browser"}
    assert page.tags.count("img") == len(FIGURES) + 1
    assert "url(" not in text
    for name in ("scores", "classes"):
        rows = csv.reader((report / f"{name}.csv").read_text().splitlines())
        assert {cell.replace("+-", "±") for row in rows for cell in row} < set(page.texts)


def test_names_are_text_and_never_a_part_of_the_page(undrawn, copies, tmp_path, write):
    methods = read_methods(copies)
    names = [HOSTILE, *methods[0].runs[0].result["class_names"][1:]]
    for path in copies:
        result = json.loads((path / "result.json").read_text())
        (path / "result.json").write_text(json.dumps({**result, "class_names": names}))
        config, method = (path / "config.yaml").read_text(), json.dumps(HOSTILE + path.name[:5])
        (path / "config.yaml").write_text(config.replace("method: null", f"method: {method}"))
    methods = read_methods(copies)
    more = Table(HOSTILE, ("a", HOSTILE), ((HOSTILE, HOSTILE),))
    written = write(methods, tmp_path / "out", tables={"more": more}, verdicts=[HOSTILE])
    assert not written.left_out
    page = Page((tmp_path / "out/index.html").read_text(encoding="utf-8"))
    assert (page.tags.count("script"), page.tags.count("b")) == (2, 0)
    assert page.texts.count(HOSTILE) >= 5
    data = embedded(tmp_path / "out")
    assert data["classes"][0]["name"] == HOSTILE
    assert {run["method"] for run in data["runs"]} == {HOSTILE + "fcn32", HOSTILE + "fcn8s"}


def test_the_same_runs_make_the_same_report(report, methods, tmp_path, write):
    write(methods, tmp_path / "again")
    for path in report.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_of_too_many_images_those_that_differ_most_are_kept_and_others_evenly_spread(methods):
    per_run = [[mean_iou(matrix) for matrix in of_run] for method in methods for of_run in method.matrices]
    differences = np.abs((np.array(per_run[0]) + per_run[1]) / 2 - per_run[2])
    chosen = browsed_images(methods, 4)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 4
    assert set(np.argsort(-differences)[:2].tolist()) < set(chosen)
    assert browsed_images(methods, 6) == browsed_images(methods, 240) == list(range(6))
    assert len(browsed_images(methods[:1], 3)) == 3


def mean_iou(matrix):
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return np.mean(matrix.diagonal()[union > 0] / union[union > 0])


def test_more_tables_and_verdicts_have_their_place_and_fewer_images_are_said(undrawn, methods, tmp_path, write):
    out = tmp_path / "out"
    write(
        methods,
        out,
        tables={"pairs": Table("pairs of methods", ("pair", "difference"), (("fcn8s, fcn32s", "+1.8"),))},
        verdicts=["fcn8s > fcn32s (+1.8 [0.9, 2.7])"],
        browser_images=2,
    )
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    assert {"fcn8s > fcn32s (+1.8 [0.9, 2.7])", "pairs of methods", "+1.8"} < set(page.texts)
    assert (out / "pairs.csv").is_file()
    assert "Pairs of methods" in (out / "table.tex").read_text()
    data = embedded(out)
    assert (len(data["images"]), data["total"]) == (2, 6)


def test_what_needs_predictions_is_left_out_where_they_are_missing_and_nothing_else_is_touched(
    undrawn, copies, report, tmp_path, write
):
    out = Path(shutil.copytree(report, tmp_path / "out"))
    (out / "mine.txt").write_text("kept")
    (tmp_path / "mine.txt").write_text("kept")
    names = json.loads((out / "report.json").read_text())["files"]
    (out / "report.json").write_text(json.dumps({"files": ["../mine.txt", *names]}))
    (copies[1] / "predictions/test/streets-test-00002.png").unlink()
    written = write(read_methods(copies), out)
    (line,) = written.left_out
    assert line == (
        "Left out: predictions.png, the figure of boundaries and the comparison image by image: "
        f"{copies[1]} lacks the predictions of 1 of 6 test images. 'segkit evaluate {copies[1]}' stores them."
    )
    assert not any((out / name).exists() for name in ("predictions.png", "boundary.png", "boundary.pdf"))
    assert embedded(out) is None
    assert line in Page((out / "index.html").read_text(encoding="utf-8")).texts
    assert written.files[-1] == out / "index.html"
    assert {path.name for path in out.iterdir()} == {path.name for path in written.files} | {"mine.txt"}
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_without_the_dataset_the_reason_is_that_of_the_dataset(undrawn, copies, tmp_path, write):
    data = f"data:\n  name: camvid\n  root: {tmp_path}/nowhere\n"
    for path in copies:
        config = path / "config.yaml"
        config.write_text(re.sub(r"data:\n(  .*\n)+", data, config.read_text()))
    written = write(read_methods(copies), tmp_path / "out")
    assert f"image by image: data.root = '{tmp_path}/nowhere' is not a folder" in written.left_out[0]
    assert (tmp_path / "out/table.tex").is_file()


@pytest.mark.parametrize("name", ["index.html", "report.json", "scores.csv", "boundary.pdf", "predictions.png"])
def test_a_file_of_someone_else_is_not_overwritten(methods, tmp_path, write, name):
    (tmp_path / name).write_text('{"files": ["index.html", "mine.txt"]}')
    with pytest.raises(InputError, match=f"{name} exists and is not of an earlier report; nothing was written"):
        write(methods, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"files": ["index.html", "mine.txt"]}'
    with pytest.raises(InputError, match="is a file; expected a folder"):
        write(methods, tmp_path / name)


def test_an_interrupted_report_can_be_written_again(undrawn, methods, tmp_path, write, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compare_report, "write_figure", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(methods, tmp_path / "out")
    listed = json.loads((tmp_path / "out/report.json").read_text())["files"]
    assert {path.name for path in (tmp_path / "out").iterdir()} < set(listed)
    write(methods, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(listed)


def test_matrices_near_boundaries_are_those_of_each_run(trained, methods):
    dataset = open_test_split(methods)
    expected = np.zeros((3, 5, 11, 11), int)
    for sample in dataset:
        for matrices, path in zip(expected, trained, strict=True):
            predicted = read_index_mask(path / f"predictions/test/{sample.id}.png")
            matrices += trimap_matrices([predicted], sample.labels, num_classes=11, widths=(1, 2, 4, 8, 16))[0]
    near, _, _ = compare_report.read_stored(methods, dataset, pictures=1, browser_images=1)
    np.testing.assert_array_equal(np.concatenate(near), expected)
