"""Statistics of a whole split for batch norm, and batch norm that has become part of a convolution."""

import pytest
import torch
from torch import nn

from segkit.build import DECODERS, ENCODERS
from segkit.engine.batch_norm import absorb_batch_norm, author_batches, set_statistics
from segkit.errors import InputError
from segkit.models.segmenter import Segmenter


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    )


@pytest.fixture
def batches():
    torch.manual_seed(1)
    return [torch.randn(n, 3, 9, 9) for n in (4, 4, 2)]


@pytest.mark.parametrize("unbiased", [True, False])
@torch.no_grad()
def test_statistics_are_averages_over_batches_that_each_layer_normalizes_by_itself(model, batches, unbiased):
    sums, total = [torch.zeros(2, 4), torch.zeros(2, 5)], 0
    for batch in batches:
        x = model[0](batch)
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=int(unbiased))
        sums[0] += torch.stack([mean, variance]) * len(batch)
        biased = x.var(dim=(0, 2, 3), correction=0, keepdim=True)
        y = model[4](((x - mean[:, None, None]) / (biased + 1e-5).sqrt()).relu())
        variance, mean = torch.var_mean(y, dim=(0, 2, 3), correction=int(unbiased))
        sums[1] += torch.stack([mean, variance]) * len(batch)
        total += len(batch)
    model.train()
    set_statistics(model, batches, unbiased=unbiased)
    for norm, expected in zip((model[1], model[5]), sums, strict=True):
        torch.testing.assert_close(
            torch.stack([norm.running_mean, norm.running_var]), expected / total, rtol=1e-4, atol=1e-5
        )
    assert model.training
    assert model[1].momentum == 0.1


def test_a_model_without_batch_norm_is_refused():
    with pytest.raises(InputError, match="the model has no batch norm"):
        set_statistics(nn.Conv2d(3, 4, 3), [], unbiased=True)


def test_the_authors_count_94_batches_of_4_for_367_images_and_go_round():
    batches = author_batches(list(range(367)), 4)
    assert len(batches) == 367 // 4 + 367 % 4 == 94
    assert batches[0] == [0, 1, 2, 3]
    assert batches[91] == [364, 365, 366, 0]
    assert batches[93] == [5, 6, 7, 8]
    assert author_batches([3, 1, 2], 2) == [[3, 1], [2, 3]]
    assert author_batches([0, 1], 8) == [[0, 1] * 4] * 2


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("vgg16", "segnet"), ("segnet_basic", "segnet_basic"), ("vgg16", "fcn8s")]
)
@torch.no_grad()
def test_absorbing_batch_norm_changes_no_output(encoder, decoder):
    torch.manual_seed(0)
    options = {"batch_norm": True} if encoder == "vgg16" else {}
    head = {"head_width": 8} if decoder == "fcn8s" else {}
    built = ENCODERS[encoder](width=1 / 16, **options)
    model = Segmenter(built, DECODERS[decoder](built.stages, 3, **head))
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d) and not m.weight.any()):
        nn.init.normal_(layer.weight)  # FCN's score layers start at zero
    absorbed = absorb_batch_norm(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in absorbed.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())  # the model itself stays
    image = torch.randn(1, 3, 65, 97)
    expected = model.eval()(image)
    assert expected.std() > 0.01
    torch.testing.assert_close(absorbed(image), expected, rtol=1e-3, atol=1e-4)


class Outsider(nn.Module):
    """A convolution, a ReLU, and then a batch norm of the convolution's name."""

    def __init__(self):
        super().__init__()
        self.score, self.score_bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        nn.init.normal_(self.score_bn.running_mean)

    def forward(self, x):
        return self.score_bn(self.score(x).relu())


@torch.no_grad()
def test_a_batch_norm_that_is_not_listed_behind_its_convolution_stays():
    model, image = Outsider().eval(), torch.randn(1, 3, 8, 8)
    assert torch.equal(absorb_batch_norm(model)(image), model(image))
