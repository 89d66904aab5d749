"""`segkit data browse`, as a user meets it."""

import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from segkit.build import build_dataset, build_model, build_steps, build_training_transform, load_config
from segkit.config.transforms import Transforms
from segkit.data.dataset import Sample
from segkit.data.transforms.training import TrainingTransform
from segkit.diagnostics.browse import _row, _spread
from segkit.engine.device import choose_device
from segkit.viz.contact_sheet import DARK, LIGHT

STREETS = "configs/streets/fcn8s.yaml"
SMALL = ["data.size=[32,48]", "data.train_images=9", "data.val_images=2", "data.test_images=3"]
CROP = [*SMALL, "transforms.crop=[40,40]", "transforms.scale=[0.5,2.0]"]
CROP += ["training.batch_size=3", "model.encoder.width=0.0625"]
HOSTILE = "</style><img src=x onerror=alert(1)>\"'&amp; ${x} $title 像"


def pictures(page, kind):
    """The pictures of a page as arrays."""
    found = re.findall(rf'src="data:image/{kind};base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB")) for each in found]


def test_versions_are_what_training_feeds_the_network(segkit):
    config, _ = load_config(STREETS, [*CROP, "seed=3"])
    dataset, model = build_dataset(config, "train"), build_model(config, 11)
    steps = build_steps(config, model, dataset, first_step=0, device=choose_device("cpu"))
    transform = steps.dataset.transform
    fed = {}
    for _, parts in zip(range(6), steps, strict=False):  # two epochs of three steps
        for batch in parts:
            for image, labels, name in zip(batch.image, batch.labels, batch.ids, strict=True):
                fed.setdefault(name, []).append((image.numpy(), labels.numpy()))
    for index in range(9):
        row = _row(dataset[index], transform, seed=3, versions=2, names=dataset.class_names)
        for tile, (image, labels) in zip(row.tiles[1:], fed[row.name], strict=True):
            restored = image.transpose(1, 2, 0) * transform.std + transform.mean
            np.testing.assert_allclose(tile.image, restored, atol=0.51)
            assert (tile.layer[labels < 255] == labels[labels < 255]).all()
            assert (tile.layer[labels == 255] >= DARK).all()


def test_padding_is_told_from_void():
    config, _ = load_config(STREETS, [*SMALL, "transforms.crop=[64,96]", "transforms.flip=0"])
    dataset = build_dataset(config, "train")
    sample = dataset[0]
    sample.labels[:8] = 255
    transform = build_training_transform(config, build_model(config, 11))
    row = _row(sample, transform, seed=0, versions=1, names=dataset.class_names)
    void = (sample.labels == 255).sum() / (64 * 96)
    assert row.tiles[1].caption == ("epoch 0, 64x96", f"void {100 * void:.1f}%, padding 75.0%")
    assert ((row.tiles[1].layer == DARK) | (row.tiles[1].layer == LIGHT)).mean() == pytest.approx(0.75 + void)
    assert row.tiles[0].caption == ("on disk, 32x48", f"void {400 * void:.1f}%")


def test_a_page_holds_every_picture_and_asks_no_network(segkit, tmp_path):
    out = tmp_path / "new" / "page.html"
    code, printed, _ = segkit("data", "browse", STREETS, *CROP, "--out", out, "--samples", 4, "--versions", 2)
    assert (code, printed) == (0, f"{out}: 4 samples\n")
    page = out.read_text()
    assert [image.shape for image in pictures(page, "jpeg")] == [(32, 48, 3), (40, 40, 3), (40, 40, 3)] * 4
    legend, layers = pictures(page, "png")[:13], pictures(page, "png")[13:]
    assert [layer.shape for layer in layers] == [(32, 48, 3), (40, 40, 3), (40, 40, 3)] * 4
    dataset = build_dataset(load_config(STREETS, CROP)[0], "train")
    assert [swatch[0, 0].tolist() for swatch in legend[:11]] == dataset.palette.tolist()
    labels = dataset[1].labels  # the middle of the first quarter of nine
    known = labels < 255
    assert (layers[0][known] == dataset.palette[labels[known]]).all()
    assert page.count("<h2") == 4
    assert not re.search(r"https?:|url\(|@import", page)


def test_a_picture_holds_a_row_per_sample(segkit, tmp_path):
    sizes = []
    for samples in (1, 3):
        options = ("--out", tmp_path / "x.png", "--samples", samples, "--versions", 1)
        assert segkit("data", "browse", STREETS, *SMALL, *options)[0] == 0
        with Image.open(tmp_path / "x.png") as picture:
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[1][0]
    row = (2.2 * 32 / 48 + 0.6) * 144
    assert sizes[1][1] - sizes[0][1] == pytest.approx(2 * row, abs=2)


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (10, list(range(10))), (99, list(range(10)))]
)
def test_samples_are_evenly_spread(count, chosen):
    assert _spread(list(range(10)), count) == chosen


def folder_of(root, names, labels):
    """Overrides of a dataset of 4x4 images, each named and labelled with one id."""
    for kind in ("images", "labels"):
        (root / "train" / kind).mkdir(parents=True)
        for name, index in labels.items():
            pixels = np.full((4, 4, 3) if kind == "images" else (4, 4), index, np.uint8)
            Image.fromarray(pixels).save(root / "train" / kind / f"{name}.png")
    (root / "classes.yaml").write_text(json.dumps(names))
    return f"data={{name: folder, root: {root}}}"


def test_only_samples_that_hold_a_class_are_shown(segkit, tmp_path):
    data = folder_of(tmp_path, ["sky", "dog", "cat", "cow"], {"one": 0, "two": 1, "three": 2, "four": 255, "five": 1})
    for classes, shown in ((["dog"], ["five", "two"]), (["cat", "dog"], ["five", "three", "two"])):
        options = [part for name in classes for part in ("--classes", name)]
        assert segkit("data", "browse", STREETS, data, "--out", tmp_path / "x.html", *options)[0] == 0
        assert re.findall(r'<h2 id="[^"]+">([^<]+)', (tmp_path / "x.html").read_text()) == shown
    code, _, errors = segkit("data", "browse", STREETS, data, "--out", tmp_path / "y.html", "--classes", "cow")
    assert (code, errors) == (2, "segkit: no image of the 'train' split holds cow. Choose another class or --split.\n")


def test_names_are_text_and_never_html(segkit, tmp_path):
    data = folder_of(tmp_path, [HOSTILE], {"<b>": 0})
    for ending in ("html", "png"):
        assert segkit("data", "browse", STREETS, data, "--out", tmp_path / f"x.{ending}")[0] == 0
    page = (tmp_path / "x.html").read_text()
    assert "<b>" not in page
    assert "<img src=x" not in page
    assert "&amp;amp; ${x} $title 像</li>" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "bicylist"], "--classes bicylist: the dataset has no such class. Did you mean 'bicyclist'? It "),
        (["--out", "x.jpg"], "--out x.jpg: expected a file ending in .html or .png."),
        (["--out", "README.md/x.png"], "--out README.md is not a folder"),
        (["--out", "."], "--out .: expected a file ending in .html or .png, this is a folder."),
    ],
)
def test_what_cannot_be_shown_ends_in_one_message(segkit, tmp_path, arguments, message):
    code, out, errors = segkit("data", "browse", STREETS, *SMALL, "--out", tmp_path / "x.html", *arguments)
    assert (code, out) == (2, "")
    assert errors.startswith(f"segkit: {message}")
    assert errors.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    ("size", "shown"), [((700, 1300), (345, 640)), ((640, 480), (640, 480)), ((2000, 1), (640, 1))]
)
def test_large_images_are_shown_smaller_with_labels_in_their_place(size, shown):
    image, labels = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    image[size[0] // 2 :], labels[size[0] // 2 :] = 200, 1
    transform = TrainingTransform(Transforms(), mean=[0] * 3, std=[1] * 3)
    tile = _row(Sample("a", image, labels), transform, seed=0, versions=0, names="ab").tiles[0]
    assert tile.image.shape[:2] == tile.layer.shape == shown
    assert ((tile.image[..., 0] > 100) == (tile.layer == 1)).mean() > 0.99
    assert tile.caption == (f"on disk, {size[0]}x{size[1]}", "void 0.0%")
    assert tile.holds.startswith("a 50.0%, b 50.0%")


def test_the_page_works_with_and_without_scripts(segkit, tmp_path):
    program = shutil.which("chromium")
    if not program:
        pytest.skip("chromium is not here")
    out = tmp_path / "x.html"
    segkit("data", "browse", STREETS, *SMALL, "--out", out, "--samples", 1, "--versions", 1)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command = [program, *flags, f"--user-data-dir={tmp_path}", f"file://{out}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '<label>Opacity <input type="range" id="opacity"' in ran.stdout
    assert '<body style="--opacity: 0.55;">' in ran.stdout
    assert "CONSOLE" not in ran.stderr
    assert '<label hidden>Opacity <input type="range" id="opacity"' in out.read_text()
