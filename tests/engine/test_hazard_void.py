"""Batches of void pixels alone: the loss is 0, no weight gets a gradient, nothing becomes NaN (reliability.md, case
12)."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.engine.device import deterministic
from segkit.losses.cross_entropy import CrossEntropy
from segkit.models.decoders.fcn import FCN32s
from segkit.models.decoders.segnet import SegNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter
from segkit.tensors import IGNORE, AuxiliaryLogits

K = 3
NORMALIZERS = ("valid_pixels", "weight_sum", "batch", "image_means")
ROAD, SKY = 0, 1


def googlenet():
    """A net with auxiliary classifiers."""
    torch.manual_seed(0)
    encoder = GoogLeNet(width=1 / 8)
    return Segmenter(encoder, FCN32s(encoder.stages, K, auxiliary_weight=0.3))


def segnet():
    torch.manual_seed(0)
    encoder = VGG16(width=1 / 16, batch_norm=True)
    return Segmenter(encoder, SegNet(encoder.stages, K))


def gradients(model, labels, normalizer):
    """Whether there are auxiliary logits, the loss of a batch in bfloat16, and the gradient of every parameter."""
    image = torch.randn(len(labels), 3, *labels.shape[1:], generator=torch.Generator().manual_seed(0))
    with deterministic(True):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(image)
        loss = CrossEntropy(torch.tensor([0.5, 1.0, 2.0]), normalizer=normalizer)(logits, labels)
        loss.backward()
    return isinstance(logits, AuxiliaryLogits), loss.item(), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("build", [googlenet, segnet])
def test_a_batch_of_void_has_loss_0_and_gradients_of_0_through_the_whole_net(build, normalizer):
    has_auxiliary, loss, found = gradients(build(), torch.full((2, 64, 64), IGNORE), normalizer)
    assert has_auxiliary == (build is googlenet)
    assert loss == 0
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in found)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_one_labelled_pixel_among_void_is_learned_from(normalizer):
    labels = torch.full((2, 64, 64), IGNORE)
    labels[1, 20, 30] = SKY
    _, loss, found = gradients(segnet(), labels, normalizer)
    assert 0 < loss < 100
    assert all(torch.isfinite(gradient).all() for gradient in found)
    assert any(gradient.any() for gradient in found)


@pytest.mark.parametrize("normalizer", ["valid_pixels", "image_means"])
def test_a_run_goes_through_images_of_void_alone_and_scores_what_is_labelled(segkit, tiny, tmp_path, normalizer):
    void, labelled = np.full((32, 48), IGNORE, np.uint8), np.tile(np.uint8([ROAD, SKY]), (32, 24))
    (tmp_path / "classes.yaml").write_text("[road, sky, car]")
    for split, maps in {"train": (void, labelled), "val": (labelled, void), "test": (void, labelled, void)}.items():
        for index, labels in enumerate(maps):
            for kind in ("images", "labels"):
                path = tmp_path / split / kind / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels).save(path)
    run, settings = tmp_path / "run", [setting for setting in tiny if not setting.startswith("data.")]
    settings += ["data.name=folder", f"data.root={tmp_path}"]
    settings += [f"training.{key}=1" for key in ("batch_size", "epochs", "log_every")]
    settings += [f"loss.function={{name: cross_entropy, normalizer: {normalizer}}}"]
    assert segkit("train", "configs/streets/segnet.yaml", *settings, "--run", run)[::2] == (0, "")

    *records, test = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = {(record["loss"] == 0, record["gradient_norm"] == 0) for record in records if record["kind"] == "train"}
    assert steps == {(True, True), (False, False)}  # the void image, and the other
    assert [record["ids"] for record in records if record["kind"] == "void"] == [["0"]]
    assert test["kind"] == "test"
    assert test["accuracy"][2] is None
    assert test["class_average_accuracy"] == pytest.approx(sum(test["accuracy"][:2]) / 2)

    for kind in ("images", "labels"):  # a split of void alone has no score
        (tmp_path / "test" / kind / "1.png").unlink()
    code, out, errors = segkit("evaluate", run)
    assert (code, errors) == (0, "")
    assert "global -  class average -  mean IoU -" in out
    assert "nan" not in out.lower()
