"""Data that are unusual but right are trained on; data that are wrong are refused before anything is written."""

import numpy as np
import pytest
from PIL import Image

from segkit.tracking.run_dir import RunDir


@pytest.fixture
def data(tmp_path):
    """A folder dataset of two classes with 4 images of 33x47 pixels in each split."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for index in range(4):
            save(root, split, f"{split}{index}", rng.integers(0, 2, (33, 47), np.uint8), rng)
    (root / "classes.yaml").write_text("- road: [10, 20, 30]\n- sky: [0, 0, 9]\n")
    return root


def save(root, split, name, labels, rng=None):
    rng = np.random.default_rng(1) if rng is None else rng
    Image.fromarray(rng.integers(0, 256, (*labels.shape, 3), np.uint8)).save(root / split / "images" / f"{name}.png")
    Image.fromarray(labels).save(root / split / "labels" / f"{name}.png")


@pytest.fixture
def train(segkit, data, tmp_path):
    """Trains one epoch on the folder: (exit code, errors with ROOT for the folder, loss of each step)."""

    def train(
        *settings, config="configs/streets/fcn8s.yaml", encoder="{name: vgg16, width: 0.0625, batch_norm: false}"
    ):
        always = [f"data={{name: folder, root: {data}}}", f"model.encoder={encoder}"]
        always += ["training.epochs=1", "training.batch_size=1", "training.log_every=1"]
        run = tmp_path / "run"
        code, _, errors = segkit("train", config, *always, *settings, "--run", run)
        losses = [record["loss"] for record in RunDir(run).records("train")]
        return code, errors.replace(str(data), "ROOT"), losses

    return train


def test_a_batch_of_void_pixels_alone_has_loss_0_and_does_no_harm(data, train):
    save(data, "train", "train1", np.full((33, 47), 255, np.uint8))
    code, errors, losses = train("training.epochs=2")
    assert (code, errors) == (0, "")
    assert len(losses) == 8
    assert losses.count(0) == 2
    assert all(np.isfinite(losses))


@pytest.mark.parametrize(
    ("config", "smallest"), [("configs/streets/fcn8s.yaml", (1, 1)), ("configs/streets/segnet.yaml", (1, 33))]
)
def test_images_of_one_row_and_of_odd_sizes_are_trained_on_and_scored(data, train, config, smallest):
    for split in ("train", "val", "test"):  # SegNet's batch norm needs two values to train on
        save(data, split, f"{split}0", np.ones(smallest if split == "train" else (1, 1), np.uint8))
        save(data, split, f"{split}1", np.zeros((65, 1), np.uint8))
    code, errors, losses = train(config=config)
    assert (code, errors, len(losses)) == (0, "", 4)


def test_an_image_that_is_too_small_for_the_net_is_named(data, train):
    for split in ("train", "val"):
        (data / split / "images" / f"{split}0.png").unlink()
    save(data, "val", "small", np.zeros((30, 64), np.uint8))
    net = {"encoder": "{name: googlenet, width: 0.25}", "config": "configs/streets/fcn32s.yaml"}
    code, errors, _ = train("model.decoder.head_padding=none", **net)
    assert code == 2
    assert "image 'small': an image of 30x64 pixels (height x width) is too small for this net: expected at " in errors


def test_rgb_masks_are_trained_on_as_their_ids(data, train):
    _, _, losses = train()
    colors = np.array([[10, 20, 30], [0, 0, 9]], np.uint8)
    for path in data.glob("*/labels/*.png"):
        Image.fromarray(colors[np.asarray(Image.open(path))]).save(path)
    assert train("--overwrite") == (0, "", losses)


def test_an_unknown_colour_in_a_test_mask_is_found_before_training(data, train):
    colors = np.zeros((33, 47, 3), np.uint8)
    colors[0, :3] = 255
    colors[1:] = [0, 0, 9]
    colors[0, 3:] = [10, 20, 30]
    Image.fromarray(colors).save(data / "test" / "labels" / "test2.png")
    code, errors, losses = train()
    assert (code, losses) == (2, [])
    found = "RGB label with colours that no class has: [255, 255, 255] (3 pixels). "
    assert errors.startswith(f"segkit: ROOT/test/labels/test2.png: {found}")


def test_fewer_images_than_a_batch_are_refused_before_training(train):
    code, errors, losses = train("training.batch_size=5")
    assert (code, losses) == (2, [])
    assert errors.startswith("segkit: training.batch_size = 5: the training split holds only 4 images; expected at ")


def test_an_image_of_the_test_split_in_training_is_refused_before_training(data, train):
    (data / "train" / "images" / "test0.png").symlink_to(data / "test" / "images" / "test0.png")
    (data / "train" / "labels" / "test0.png").symlink_to(data / "test" / "labels" / "test0.png")
    code, errors, losses = train()
    assert (code, losses) == (2, [])
    assert errors.startswith("segkit: ROOT/test/images/test0.png: image in two splits: in train and test. ")
