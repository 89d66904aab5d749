"""Batch-norm statistics of a whole training split, and batch norm absorbed into convolutions."""

import copy
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segkit.errors import InputError

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def set_statistics(
    model: nn.Module, batches: Iterable[Tensor], *, unbiased: bool, progress: Callable[[int], None] | None = None
) -> None:
    """Replace the running mean and variance of every batch norm by averages over batches.

    Each layer normalizes by the batch at hand. Dropout is off. Batches are weighted by their number of images.

    Args:
        batches: normalized images [B, 3, H, W], where the model is.
        unbiased: multiply each batch's variance by m / (m - 1) for m values, as the authors' script meant to; its
            integer division did not.
    Raises:
        InputError: if the model has no batch norm, or a batch gives one a single value per channel.
    Source: alexgkendall/SegNet-Tutorial Scripts/compute_bn_statistics.py.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise InputError(
            "the model has no batch norm: there are no statistics to compute. Choose a run of a model with batch norm."
        )
    sums = {norm: torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms}  # CPU: MPS has no float64
    images = 0

    def observe(norm: nn.Module, arguments: tuple[Tensor]) -> None:
        if arguments[0][:, 0].numel() < 2:
            raise InputError(
                f"a batch of {len(arguments[0])} training images gives a batch norm a single value per channel; "
                "expected two or more. Set another training.batch_size: the last batch holds what is left over."
            )
        variance, mean = torch.var_mean(arguments[0].float(), dim=(0, 2, 3), correction=int(unbiased))
        sums[norm] += torch.stack([mean, variance]).cpu() * len(arguments[0])  # pyright: ignore[reportArgumentType]

    handles = [norm.register_forward_pre_hook(observe) for norm in norms]
    was_training = model.training
    model.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False  # the running averages stay as they are until the end
    try:
        for batch in batches:
            model(batch)
            images += len(batch)
            if progress is not None:
                progress(len(batch))
    finally:
        for handle, norm in zip(handles, norms, strict=True):
            handle.remove()
            norm.track_running_stats = True
        model.train(was_training)
    for norm in norms:
        mean, variance = sums[norm] / images
        norm.running_mean.copy_(mean)  # pyright: ignore[reportOptionalMemberAccess]
        norm.running_var.copy_(variance)  # pyright: ignore[reportOptionalMemberAccess]


def author_batches(order: list[int], batch_size: int) -> list[list[int]]:
    """Indices of the batches that the authors' script uses: N // B + N % B batches, starting the list again at its end.

    Source: as `set_statistics`. Its number of iterations is a slip: 367 images in batches of 4 give 94; 92 are enough.
    """
    count = len(order) // batch_size + len(order) % batch_size
    endless = order * (count * batch_size // len(order) + 1)
    return [endless[i * batch_size : (i + 1) * batch_size] for i in range(count)]


def absorb_batch_norm(model: Model) -> Model:
    """Copy a model, in evaluation mode, with batch norm folded into the convolution before it.

    Folds the pairs that a module lists as `conv_bn_pairs`: attribute names of a convolution and of the batch norm that
    is applied to its output, and to nothing else. Any other batch norm stays as it is, whatever its name.

    Source: alexgkendall/SegNet-Tutorial Scripts/BN-absorber.py.
    """
    model = copy.deepcopy(model).eval()
    for part in list(model.modules()):
        for convolution, norm in getattr(part, "conv_bn_pairs", ()):
            if isinstance(getattr(part, norm), nn.BatchNorm2d):  # not yet folded
                setattr(part, convolution, fuse_conv_bn_eval(getattr(part, convolution), getattr(part, norm)))
                setattr(part, norm, nn.Identity())
    return model
