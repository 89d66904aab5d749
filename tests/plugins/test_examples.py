"""The examples of the docs keep what their docstrings promise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segkit.config.plugins import load_plugin, plugin_files
from segkit.data.outside import OutsideDataset
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.models.decoders.fcn import FCN8s
from segkit.models.decoders.segnet import SegNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.vgg import VGG16
from segkit.tensors import IGNORE
from segkit.testing import check_decoder, check_encoder, check_loss

K = 3
EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def example(name):
    (file,) = plugin_files([{"file": str(EXAMPLES / name)}])
    return load_plugin(file)


UNet, PowerLoss = example("unet.py").UNet, example("power_loss.py").PowerLoss
NpyFolder, SmallEncoder = example("npy_folder.py").NpyFolder, example("small_encoder.py").SmallEncoder


@pytest.mark.parametrize("decoder", [FCN8s, SegNet, UNet])
def test_decoders_keep_their_contract_on_the_small_encoder(decoder):
    options = {"head_width": 8} if decoder is FCN8s else {"width": 4} if decoder is UNet else {}
    check_decoder(decoder, options=options, encoder=SmallEncoder(width=4))


def test_encoder_and_loss_keep_their_contract():
    check_encoder(SmallEncoder, options={"width": 4, "stages": 3})
    check_loss(PowerLoss(torch.tensor([0.5, 1.0, 2.0])), num_classes=K)


def test_the_unet_refuses_an_encoder_that_pads_the_image():
    with pytest.raises(InputError, match="'unet' needs maps that are no larger than the image"):
        UNet(VGG16(width=1 / 16, padding=100).stages, K)
    with pytest.raises(InputError, match="'unet' needs"):
        UNet(GoogLeNet(width=1 / 16).stages, K)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 2.0])])
def test_the_power_loss_is_its_formula_and_cross_entropy_at_power_0(weights):
    logits, labels = torch.randn(4, K, 5, 6), torch.randint(K, (4, 5, 6))
    labels[0, 0] = IGNORE
    torch.testing.assert_close(PowerLoss(weights, power=0.0)(logits, labels), CrossEntropy(weights)(logits, labels))
    log = logits.double().log_softmax(1).gather(1, labels.where(labels != IGNORE, 0)[:, None])[:, 0]
    weight = torch.ones(K) if weights is None else weights
    terms = -((1 - log.exp()) ** 3) * log * weight[labels.where(labels != IGNORE, 0)]
    expected = terms[labels != IGNORE].mean()
    torch.testing.assert_close(PowerLoss(weights, power=3.0)(logits, labels).double(), expected, rtol=1e-5, atol=1e-6)


def test_the_power_loss_of_a_batch_is_that_of_its_parts():
    loss, logits, labels = PowerLoss(None), torch.randn(4, K, 5, 6), torch.randint(K, (4, 5, 6))
    labels[0, :3] = IGNORE
    parts = list(zip(logits.split(1), labels.split(1), strict=True))
    total = sum(loss.total(*part) for part in parts) / sum(loss.normalizer(part[1]) for part in parts)
    torch.testing.assert_close(total, loss(logits, labels))


def test_the_power_loss_has_a_finite_gradient_where_a_pixel_is_certain():
    logits = (100 * F.one_hot(torch.zeros(1, 2, 2, dtype=torch.long), K).permute(0, 3, 1, 2).float()).requires_grad_()
    PowerLoss(None, power=0.5)(logits, torch.zeros(1, 2, 2, dtype=torch.long)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_folder_of_arrays_gives_what_is_in_it(tmp_path):
    folder = tmp_path / "val"
    folder.mkdir()
    image, labels = np.full((4, 6, 3), 7, np.uint8), np.full((4, 6), 1, np.uint8)
    np.save(folder / "a_image.npy", image)
    np.save(folder / "a_labels.npy", labels)
    dataset = OutsideDataset(NpyFolder("val", root=tmp_path, classes=("road", "sky")), "npy_folder", lambda: None)
    assert dataset[0].id == "a"
    np.testing.assert_array_equal(dataset[0].image, image)
    np.testing.assert_array_equal(dataset.labels(0), labels)
    before = dataset.fingerprint()
    np.save(folder / "a_labels.npy", labels - 1)
    assert dataset.fingerprint() != before
    with pytest.raises(InputError, match=r"train holds no \*_image.npy"):
        NpyFolder("train", root=tmp_path, classes=("road",))
