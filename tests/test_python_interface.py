"""segkit from Python: what `import segkit` costs, and what its functions take and give."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import segkit
from segkit.data.datasets.streets import Streets
from segkit.errors import InputError

IMPORT = """
import sys, time
started = time.process_time()
import segkit
seconds = time.process_time() - started
heavy = {"torch", "numpy", "pydantic", "yaml", "typer"} & sys.modules.keys()
assert not heavy, heavy
assert seconds < 0.1, seconds
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_config):
    """A run folder that was trained from Python."""
    folder = tmp_path_factory.mktemp("interface")
    (folder / "config.txt").write_text(f"name: tiny{tiny_config}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(folder / "cache"))
        config = segkit.load_config(str(folder / "config.txt"), ["training.epochs=1", "transforms.flip=0"])
        result = segkit.train(config, folder / "run")
        assert segkit.train(config, str(folder / "run")) == result  # finished: read, not trained again
    assert (config.training.epochs, result["name"], result["best_step"]) == (1, "tiny", 2)
    return folder / "run"


@pytest.fixture(scope="module")
def predictor(run):
    return segkit.load_model(str(run), device="cpu")


@pytest.fixture(scope="module")
def image():
    return Streets("test", size=(45, 61))[0].image


def test_importing_segkit_is_fast_and_brings_nothing_heavy():
    subprocess.run([sys.executable, "-c", IMPORT], check=True)


def test_a_run_is_scored_and_compared(run, tmp_path):
    scores = segkit.evaluate(run, "val")
    assert 0 <= scores.mean_iou <= 1
    assert len(scores.iou) == 11
    comparison = segkit.compare_runs([run], out=tmp_path / "report")
    assert [method.name for method in comparison.methods] == ["fcn8s"]
    assert (tmp_path / "report/index.html").is_file()


def test_labels_probabilities_and_logits_are_those_of_one_model_at_the_size_of_the_image(predictor, image):
    labels, probabilities, logits = predictor(image), predictor.probabilities(image), predictor.logits(image)
    assert (labels.dtype, labels.shape) == (np.uint8, (45, 61))
    for array in (probabilities, logits):
        assert (array.dtype, array.shape) == (np.float32, (11, 45, 61))
        np.testing.assert_array_equal(array.argmax(0), labels)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(0), atol=1e-5)


def test_a_path_and_a_view_of_an_array_are_taken(predictor, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "scene.png")
    for same in (tmp_path / "scene.png", str(tmp_path / "scene.png"), np.asfortranarray(image), image[::-1][::-1]):
        np.testing.assert_array_equal(predictor(same), predictor(image))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda image: image[..., 0], "uint8 [45, 61]"),
        (lambda image: np.dstack([image, image[..., :1]]), "uint8 [45, 61, 4]"),
        (lambda image: (image / 255).astype(np.float32), "float32 [45, 61, 3]"),
        (lambda image: image.transpose(2, 0, 1), "uint8 [3, 45, 61]"),
        (lambda image: image[:0], "uint8 [0, 61, 3]"),
        (lambda image: image.tolist(), "list"),
        (lambda image: None, "NoneType"),
    ],
)
def test_anything_else_is_refused_with_what_it_is_and_what_was_expected(predictor, image, change, found):
    for use in (predictor, predictor.probabilities, predictor.logits):
        with pytest.raises(InputError) as caught:
            use(change(image))
        assert str(caught.value).startswith(
            f"the image is {found}; expected uint8 [H, W, 3], RGB, or the path of a PNG"
        )


def test_an_image_file_that_is_missing_is_named(predictor):
    with pytest.raises(InputError, match="nowhere.png: missing file"):
        predictor("nowhere.png")
