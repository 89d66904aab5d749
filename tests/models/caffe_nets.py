"""Narrow nets for tests of Caffe weights."""

import torch
from torch import nn

from segkit.models.caffe.layers import import_caffe
from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter

K = 3
CHOOSE = "Choose the config of this net, with its layers, widths and number of classes"


def build(encoder=VGG16, decoder=FCN8s, classes=K, **options):
    """A model, narrow; `options` are the decoder's, those of the encoder start with encoder_."""
    own = {"width": 1 / 16, "normalization": "caffe"}
    own |= {name.removeprefix("encoder_"): options.pop(name) for name in list(options) if name.startswith("encoder_")}
    options |= {"head_width": 8} if decoder in (FCN8s, FCN16s, FCN32s) else {}
    encoder = encoder(**own)
    return Segmenter(encoder, decoder(encoder.stages, classes, **options)).eval()


def trained(model):
    """The model with every tensor moved away from its start."""
    torch.manual_seed(1)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 2)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif "score" in name or name.endswith(("bias", "running_mean")):
            tensor.add_(torch.randn_like(tensor) * 0.1)
        elif "_bn." in name:
            nn.init.uniform_(tensor, 0.5, 1.5)
    return model


def imported(model, path, **options):
    model.load_state_dict(import_caffe(path, model, **options).tensors)
    return model


@torch.no_grad()
def assert_same_logits(one, other):
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = one(image)
    assert expected.std() > 0.01
    torch.testing.assert_close(other(image), expected, rtol=1e-5, atol=1e-5)
