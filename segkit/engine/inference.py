"""Inference: from an image to class ids at a requested size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.engine.device import autocast
from segkit.errors import InputError
from segkit.tensors import Logits, Size


@torch.inference_mode()
def predict_logits(model: nn.Module, image: Tensor, *, device: torch.device, precision: torch.dtype) -> Logits:
    """[B, 3, H, W] normalized image to [B, K, H, W] float32 logits on `device`."""
    image = image.to(device, non_blocking=True)
    with autocast(device, precision):
        return model(image)


@torch.inference_mode()
def labels_at(logits: Logits, size: Size) -> Tensor:
    """uint8 [B, H, W]: the class of highest score after bilinear upsampling of the logits [B, K, h, w] to `size`."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits.argmax(1).to(torch.uint8)
    resize = {"size": tuple(size), "mode": "bilinear", "align_corners": False}
    logits = logits.contiguous(memory_format=torch.channels_last)
    return torch.cat([F.interpolate(one, **resize).argmax(1).to(torch.uint8) for one in logits.split(1)])


@torch.inference_mode()
def sample_probabilities(
    model: nn.Module, image: Tensor, *, samples: int, device: torch.device, precision: torch.dtype, batch_size: int = 4
) -> tuple[Logits, Tensor]:
    """Mean softmax [1, K, H, W] over `samples` passes with dropout, and its variance, mean over classes [H, W].

    Both are float32 and on the CPU. Only dropout is in training mode; it draws from torch's random generator.

    Args:
        image: normalized, [1, 3, H, W].
        batch_size: copies of the image in one pass.
    Raises:
        InputError: if the model has no dropout.
    Source: Kendall, Badrinarayanan and Cipolla 2015 (arXiv:1511.02680).
    """
    named = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p > 0
    ]
    layers = [module for name, module in named if ".auxiliary." not in name]  # these run in training only
    if not layers:
        raise InputError(
            "the model has no dropout, so all samples would be equal. Train with model.decoder.dropout=0.5, or leave "
            "--samples out."
        )
    was_training = [layer.training for layer in layers]
    total = squares = torch.zeros((), dtype=torch.float64)  # on the CPU: MPS has no float64
    try:
        for layer in layers:
            layer.train()
        for start in range(0, samples, batch_size):
            copies = image.expand(min(batch_size, samples - start), -1, -1, -1)
            probabilities = predict_logits(model, copies, device=device, precision=precision).softmax(1).cpu().double()
            total = total + probabilities.sum(0, keepdim=True)
            squares = squares + probabilities.square().sum(0, keepdim=True)
    finally:
        for layer, training in zip(layers, was_training, strict=True):
            layer.train(training)
    mean = total / samples
    variance = (squares / samples - mean.square()).clamp(min=0).mean(1)[0]
    return mean.float(), variance.float()
