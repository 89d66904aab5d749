"""Whole models of segmentation-models-pytorch (smp), as baselines under the same recipe."""

import inspect
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.func import functional_call

from segkit.config.ranges import Count
from segkit.config.signatures import show
from segkit.errors import InputError
from segkit.models.features import Features, Needs, NormalizationName, Stages
from segkit.models.geometry import LayerPath, pooling
from segkit.models.layers import size_of
from segkit.models.segmenter import Segmenter
from segkit.models.smp.encoder import MULTIPLE, SMPEncoder, padded_size
from segkit.models.smp.hub import load_encoder, refused, require_encoder
from segkit.tensors import Logits

Architecture = Literal[
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet",
    "Segformer",
]  # fmt: skip
CHANNELS = {  # what smp calls `decoder_channels`
    "FPN": "decoder_pyramid_channels",
    "PSPNet": "psp_out_channels",
    "Segformer": "decoder_segmentation_channels",
}
PROBE = (256, 512)  # (height, width) of a test image in pixels: every model must return logits of that size
# Levels of smp's list of maps, fine to coarse, that a decoder reads besides the deepest; a decoder that is not here
# reads all
SKIPS = {"DeepLabV3": (), "DeepLabV3Plus": (2,), "FPN": (2, 3, 4), "PAN": (2, 3, 4), "PSPNet": (), "UPerNet": (2, 3, 4)}
SMALLEST_MAP = {"PAN": 8}  # pixels of the deepest map that a decoder takes: PAN halves it three times


class SMPDecoder(nn.Module):
    """A decoder of smp and its head, as a `Decoder`; computes the head in float32.

    Args:
        network: smp's decoder: a list of maps to one map.
        head: that map to logits at the size of the padded image.
        channels: of each level of the list.
        levels: the level of each stage. A level without a stage, or whose stage is not needed, is a placeholder: smp's
            decoders use at most its size.
        needs: the stages that `network` reads.
        minimum_size: pixels of the smallest image.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        channels: tuple[int, ...],
        levels: tuple[int, ...],
        *,
        needs: Needs,
        minimum_size: int,
    ):
        super().__init__()
        self.minimum_size = minimum_size
        self.needs = needs
        self.network, self.head = network, head
        self.channels, self.levels = channels, levels

    def forward(self, features: Features) -> Logits:
        """Return [B, K, H, W] float32 logits at image size."""
        height, width = padded_size(features.image_size)
        some = next(iter(features.pooled.values()))
        maps = [some.new_zeros(1).expand(len(some), c, height >> n, width >> n) for n, c in enumerate(self.channels)]
        for stage, x in features.pooled.items():
            maps[self.levels[stage]] = x
        x = self.network(maps)
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.head(x.float())
        height, width = features.image_size
        return logits[..., :height, :width]


def smp_model(
    num_classes: int,
    restore: bool = False,
    *,
    architecture: Architecture,
    encoder: str,
    weights: str | None = None,
    normalization: NormalizationName = "torchvision",
    depth: Annotated[int, Ge(3), Le(5)] | None = None,
    output_stride: Literal[8, 16, 32] | None = None,
    decoder_channels: Count | tuple[Count, ...] | None = None,
) -> Segmenter:
    """A model of segmentation-models-pytorch: logits at the size of any image, by padding.

    An image is padded at its right and bottom, edge pixels repeated, to a multiple of 32 pixels, and the logits are cut
    back. Training needs two images a batch where the decoder pools to 1x1 under batch norm (DeepLabV3, DeepLabV3Plus,
    PAN, UPerNet). Layers that smp builds and does not use, such as the deeper half of PSPNet's encoder, count as
    parameters and stay untrained.

    Args:
        num_classes: K.
        architecture: smp's class. DPT is left out: it takes vision transformers of one image size.
        restore, encoder, weights, normalization: as for `smp_encoder`.
        depth: stages of the encoder; null: smp's default, 5, and 3 for PSPNet.
        output_stride: pixels of the image per pixel of the deepest map, by dilation, for DeepLabV3, DeepLabV3Plus and
            PAN; null: smp's default of 8, 16 and 16.
        decoder_channels: one number (FPN: of its pyramid), or for Unet, UnetPlusPlus and MAnet one per stage, deepest
            first; null: smp's default.
    Raises:
        InputError: if smp has no such encoder; encoder, architecture and options conflict; or weights do not fit.
    Source: Iakubovskii, segmentation_models.pytorch 0.6.
    """
    import segmentation_models_pytorch as smp

    require_encoder(encoder, "model.whole.encoder")
    constructor = getattr(smp, architecture)
    options: dict[str, Any] = {}
    for ours, theirs, value in (
        ("depth", "encoder_depth", depth),
        ("output_stride", "encoder_output_stride", output_stride),
        ("decoder_channels", CHANNELS.get(architecture, "decoder_channels"), decoder_channels),
    ):
        if value is not None and theirs not in inspect.signature(constructor).parameters:
            raise InputError(f"model.whole.{ours} = {show(value)}: {architecture} has no such option. Set it to null.")
        options |= {} if value is None else {theirs: value}
    if architecture == "PSPNet" and depth:
        options["upsampling"] = 2**depth
    what = f"model.whole.architecture = '{architecture}' with model.whole.encoder = '{encoder}'"
    with refused(what):
        whole: Any = constructor(encoder_name=encoder, encoder_weights=None, classes=num_classes, **options)
        with torch.no_grad():  # on the meta device: nothing is computed
            state = {name: tensor.to("meta") for name, tensor in (*whole.named_parameters(), *whole.named_buffers())}
            logits = functional_call(whole.eval(), state, (torch.zeros(1, 3, *PROBE, device="meta"),))
        whole.train()
    if size_of(logits) != PROBE:
        raise InputError(
            f"{what} gives logits of {show(size_of(logits))} pixels for an image of {show(PROBE)}. "
            "Leave depth and output_stride out."
        )
    if weights is not None and not restore:
        load_encoder(whole.encoder, encoder, weights, normalization, section="model.whole")

    # The same layers as encoder and decoder. Coordinates of maps are nominal, as after 2x2 pooling: smp's decoders
    # interpolate and do not use them.
    channels, stride = tuple(whole.encoder.out_channels), whole.encoder.output_stride
    levels = tuple(level for level, count in enumerate(channels) if level and count)
    paths = tuple(LayerPath((pooling(s, s),)) for s in (min(2**level, stride) for level in levels))
    stages = Stages(tuple(channels[level] for level in levels), paths, has_indices=False, has_unpooled=False)
    read = {*SKIPS.get(architecture, levels), levels[-1]}
    return Segmenter(
        SMPEncoder(whole.encoder, levels, stages, normalization, pretrained=weights is not None, crops=False),
        SMPDecoder(
            whole.decoder,
            whole.segmentation_head,
            channels,
            levels,
            needs=Needs(pooled=frozenset(stage for stage, level in enumerate(levels) if level in read)),
            minimum_size=max(SMALLEST_MAP.get(architecture, 1) * stride - MULTIPLE + 1, 1),
        ),
    )
