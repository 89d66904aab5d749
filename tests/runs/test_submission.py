"""Predictions for PASCAL VOC's evaluation server: its folders, palette files, and ids that re-read to the same
labels."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.data.datasets.voc import voc_color
from segkit.data.files.images import read_image, read_index_mask
from segkit.errors import InputError
from segkit.runs.predict import Predictor
from segkit.runs.voc_submission import write_submission

SIZES = {"2008_000006": (33, 50), "2008_000011": (47, 31)}  # of test images, height and width


@pytest.fixture
def run(tmp_path, segkit, tiny_config):
    """A tiny run on VOC, in a devkit that also lists test images without labels."""
    devkit = tmp_path / "voc" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (devkit / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(6):
        name = f"2007_{index:06d}"
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(devkit / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(rng.integers(0, 21, (40, 48), np.uint8)).save(devkit / "SegmentationClass" / f"{name}.png")
    for name, size in SIZES.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(devkit / "JPEGImages" / f"{name}.jpg")
    for name, ids in {"train": [0, 1, 2, 3], "val": [4, 5]}.items():
        (devkit / "ImageSets/Segmentation" / f"{name}.txt").write_text("".join(f"2007_{id:06d}\n" for id in ids))
    (devkit / "ImageSets/Segmentation/test.txt").write_text("\n".join(SIZES))
    (tmp_path / "voc.yaml").write_text(f"name: voc{tiny_config}")
    changes = (f"data={{name: voc, root: {devkit}}}", "training.epochs=1", "training.batch_size=1")
    assert segkit("train", tmp_path / "voc.yaml", *changes, "--run", tmp_path / "run")[::2] == (0, "")
    return tmp_path / "run"


def test_the_servers_files_hold_the_predicted_labels_at_the_images_sizes(run, segkit, tmp_path):
    code, out, err = segkit("predict", run, "--voc-submission", "test", "--out", tmp_path / "sent")
    assert (code, err) == (0, "")
    assert out.strip().endswith("sent/results.tar.gz")
    folder = tmp_path / "sent" / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.png" for name in SIZES]
    predictor = Predictor(run)
    images = Path(predictor.config.data.options["root"]) / "JPEGImages"
    for name, size in SIZES.items():
        labels = read_index_mask(folder / f"{name}.png")
        assert labels.shape == size
        np.testing.assert_array_equal(labels, predictor(read_image(images / f"{name}.jpg")))
        with Image.open(folder / f"{name}.png") as image:
            assert image.mode == "P"
            assert image.getpalette() == [channel for index in range(256) for channel in voc_color(index)]
    with tarfile.open(tmp_path / "sent" / "results.tar.gz") as archive:
        assert [name for name in archive.getnames() if name.endswith(".png")] == [
            f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png" for name in SIZES
        ]


def test_the_competition_and_the_list_are_in_the_folders_name(run, segkit, tmp_path):
    options = ("--voc-submission", "val", "--competition", "comp5", "--out", tmp_path / "sent")
    assert segkit("predict", run, *options)[0] == 0
    assert len([*(tmp_path / "sent/results/VOC2012/Segmentation/comp5_val_cls").iterdir()]) == 2


def test_what_cannot_be_submitted_is_refused(run, segkit, tmp_path, finished):
    def refusal(*arguments):
        code, _, err = segkit("predict", *arguments, "--out", tmp_path / "out")
        assert code == 2
        assert not (tmp_path / "out").exists()
        return err

    assert "nowhere.txt does not exist" in refusal(run, "--voc-submission", "nowhere")
    assert "--voc-submission sbd/val: expected a list of VOC" in refusal(run, "--voc-submission", "sbd/val")
    streets = "data.name = 'streets', 11 classes; expected a run on voc"
    assert streets in refusal(finished("fcn8s"), "--voc-submission", "test")
    assert "expected neither image files nor --samples" in refusal(run, "a.png", "--voc-submission", "test")
    assert "no image was given" in refusal(run)
    images = Path(Predictor(run).config.data.options["root"])
    image = images / "JPEGImages" / "2008_000006.jpg"
    image.unlink()
    assert "2008_000006.jpg: missing file. " in refusal(run, "--voc-submission", "test")


def test_an_interrupted_submission_leaves_nothing(run, tmp_path):
    predictor, calls = Predictor(run), []

    def interrupted(image):
        calls.append(image)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return np.zeros(image.shape[:2], np.uint8)

    interrupted.config, interrupted.class_names = predictor.config, predictor.class_names
    with pytest.raises(KeyboardInterrupt):
        write_submission(interrupted, "test", tmp_path / "sent")
    assert [*(tmp_path / "sent").iterdir()] == []
    calls[:] = [None] * 9
    write_submission(interrupted, "voc2012/val", tmp_path / "sent")
    assert sorted(path.name for path in (tmp_path / "sent").iterdir()) == ["results", "results.tar.gz"]
    assert (tmp_path / "sent/results/VOC2012/Segmentation/comp6_val_cls").is_dir()
    with pytest.raises(InputError, match=f"{tmp_path}/sent/results exists; nothing was written."):
        write_submission(predictor, "test", tmp_path / "sent")
    with tarfile.open(tmp_path / "sent/results.tar.gz") as archive:
        assert {(member.uname, member.uid) for member in archive} == {("", 0)}
