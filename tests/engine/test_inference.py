"""From image to class ids to a confusion matrix: against interpolation, argmax and counting written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.data.dataset import Sample
from segkit.engine.device import autocast, choose_device, choose_precision
from segkit.engine.evaluate import evaluate
from segkit.engine.inference import labels_at, predict_logits, sample_probabilities
from segkit.errors import InputError
from segkit.tensors import IGNORE

CPU = torch.device("cpu")
EXACT = {"device": CPU, "precision": torch.float32}
K = 4


class Pixelwise(nn.Module):
    """Scores of each pixel from its colour; remembers in which mode it ran and the sizes it saw."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.dropout = nn.Conv2d(3, K, 1), nn.Dropout(0.5)
        self.seen = []

    def forward(self, image):
        self.seen.append((self.training, tuple(image.shape)))
        return self.layer(self.dropout(image)).float()


@pytest.fixture
def model():
    return Pixelwise()


def item(index, image_size, label_size):
    generator = np.random.default_rng(index)
    labels = generator.choice([*range(K), IGNORE], label_size).astype(np.uint8)
    image = torch.from_numpy(generator.normal(size=(3, *image_size)).astype(np.float32))
    return image, Sample(f"sample-{index}", np.zeros((*label_size, 3), np.uint8), labels)


BATCHES = [
    [item(0, (6, 8), (12, 16)), item(1, (6, 8), (12, 16)), item(2, (9, 5), (9, 5))],
    [item(3, (6, 8), (7, 19))],
]


def counted(model, image, labels):
    with torch.no_grad():
        logits = F.interpolate(model.layer(image[None]), labels.shape, mode="bilinear", align_corners=False)
    predicted = logits.argmax(1)[0].numpy()
    matrix = np.zeros((K, K), np.int64)
    for y, p in zip(labels.flat, predicted.flat, strict=True):
        if y != IGNORE:
            matrix[y, p] += 1
    return matrix


# --- class ids ---


@pytest.mark.parametrize("size", [(5, 7), (10, 14), (33, 20), (3, 4)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_class_ids_are_the_argmax_of_interpolated_logits(size, layout):
    logits = torch.randn(3, K, 5, 7, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    expected = F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1)
    ours = labels_at(logits, size)
    assert ours.dtype == torch.uint8
    assert torch.equal(ours.long(), expected)


def test_logits_are_float32_and_carry_no_gradient_in_either_precision(model):
    image = torch.randn(2, 3, 6, 8)
    exact = predict_logits(model.eval(), image, **EXACT)
    rough = predict_logits(model, image, device=CPU, precision=torch.bfloat16)
    for logits in (exact, rough):
        assert (logits.dtype, logits.shape, logits.requires_grad) == (torch.float32, (2, K, 6, 8), False)
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


# --- evaluation ---


@pytest.mark.parametrize("training", [True, False])
def test_matrices_are_those_of_enlarged_predictions_counted_one_by_one(model, training):
    model.train(training)
    done = []
    result = evaluate(model, BATCHES, num_classes=K, progress=done.append, **EXACT)
    expected = [counted(model, image, sample.labels) for batch in BATCHES for image, sample in batch]
    assert result.ids == ("sample-0", "sample-1", "sample-2", "sample-3")
    assert result.matrices.dtype == np.int64
    assert result.matrices.tolist() == np.stack(expected).tolist()
    assert (result.matrix == sum(expected)).all()
    assert done == [3, 1]
    # in evaluation mode; images of one size run together, others by themselves
    assert model.seen == [(False, (2, 3, 6, 8)), (False, (1, 3, 9, 5)), (False, (1, 3, 6, 8))]
    assert model.training == training


def test_the_mode_is_restored_after_an_error(model):
    model.train()
    with pytest.raises(ValueError, match="class ids outside"):
        evaluate(model, BATCHES, num_classes=K - 1, **EXACT)
    assert model.training


# --- device and precision ---


def test_auto_takes_a_device_that_this_machine_has():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "mps", "gpu"])
def test_a_device_that_the_machine_lacks_is_refused_with_those_it_has(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"training.device = '{name}'.*it has cpu. Use training.device=auto"):
        choose_device(name)


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"),
    [(False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)],
)
def test_auto_is_bfloat16_only_where_the_processor_computes_in_it(monkeypatch, avx512, amx, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": avx512, "amx_tile": amx})
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_stated_precision_is_taken_and_computed_in(name):
    precision = getattr(torch, name)
    assert choose_precision(name, CPU) == precision
    with autocast(CPU, precision):
        assert nn.Conv2d(3, K, 1)(torch.randn(1, 3, 2, 2)).dtype == precision


# --- sampling with dropout ---


@pytest.fixture
def dropping():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, K, 1)).eval()


def test_samples_are_averaged_after_the_softmax_and_their_variance_over_classes(dropping):
    image = torch.randn(1, 3, 5, 7)
    torch.manual_seed(1)
    mean, variance = sample_probabilities(dropping, image, samples=6, batch_size=4, **EXACT)
    torch.manual_seed(1)
    dropping[2].train()
    with torch.no_grad():
        each = torch.cat([dropping(image.expand(n, -1, -1, -1)).softmax(1) for n in (4, 2)])
    torch.testing.assert_close(mean, each.mean(0, keepdim=True))
    torch.testing.assert_close(variance, each.var(0, correction=0).mean(0), rtol=1e-3, atol=1e-6)


def test_sampling_turns_on_dropout_alone_and_leaves_the_model_as_it_was(dropping):
    before = {name: tensor.clone() for name, tensor in dropping.state_dict().items()}
    _, variance = sample_probabilities(dropping, torch.randn(1, 3, 5, 7), samples=3, **EXACT)
    assert float(variance.max()) > 0
    assert not any(module.training for module in dropping.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in dropping.state_dict().items())


def test_a_model_without_dropout_cannot_be_sampled():
    with pytest.raises(InputError, match="the model has no dropout, so all samples would be equal"):
        sample_probabilities(nn.Conv2d(3, K, 1), torch.randn(1, 3, 5, 7), samples=3, **EXACT)
