"""From an image to class ids at the size that is asked for."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.engine.device import autocast
from segkit.tensors import Logits, Size


@torch.inference_mode()
def predict_logits(model: nn.Module, image: Tensor, *, device: torch.device, precision: torch.dtype) -> Logits:
    """[B, 3, H, W] normalized image to [B, K, H, W] float32 logits on `device`."""
    image = image.to(device, non_blocking=True)
    with autocast(device, precision):
        return model(image)


@torch.inference_mode()
def labels_at(logits: Logits, size: Size) -> Tensor:
    """uint8 [B, H, W]: the class of highest score after bilinear enlargement of the logits [B, K, h, w] to `size`."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits.argmax(1).to(torch.uint8)
    enlarge = {"size": tuple(size), "mode": "bilinear", "align_corners": False}
    logits = logits.contiguous(memory_format=torch.channels_last)
    return torch.cat([F.interpolate(one, **enlarge).argmax(1).to(torch.uint8) for one in logits.split(1)])
