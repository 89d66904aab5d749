"""Options of the transforms, declared once: the section `transforms` of a config, passed on to them unchanged."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, Strict, field_validator
from pydantic_core import PydanticCustomError

from segkit.config.ranges import Count, NotNegative, Positive, Share
from segkit.config.section import Section

BackendName = Literal["albumentations", "torchvision"]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise PydanticCustomError("rule", "expected [low, high] with low <= high.")
    return pair


class Transforms(Section):
    """Transforms of an image before the network; all but `input_scale` and `backend` in training only.

    Attributes:
        input_scale: network pixels per pixel on disk, along each side.
        scale: (low, high) of the random scale, uniform, on top of `input_scale`; one resize does both.
        rotate: largest angle in degrees, uniform, to either side, about the middle of the image; rotation and resize
            are one step.
            Source: hszhao/semseg; differs: it rotates half of the images, after the resize.
        crop: (height, width) in network pixels; smaller images are padded at random. None: whole images.
        class_max_ratio: largest share of a crop's labelled pixels that one class may have; the last of ten crops is
            taken as it is. 1: any.
            Source: mmsegmentation's cat_max_ratio, 0.75 in its configs; Detectron2's single_category_max_area.
        flip: probability of a horizontal flip.
        color_jitter: strength of brightness, contrast and saturation jitter, factors in 1 -+ strength; a tenth for hue.
        blur: probability of a Gaussian blur, sigma uniform in 0.1 to 2 network pixels.
        pca_noise: standard deviation of noise along ImageNet's RGB principal components (AlexNet: 0.1).
        backend: the library that computes the transforms.
    """

    input_scale: Annotated[float, Gt(0), Le(4)] = 1.0
    scale: Annotated[tuple[Positive, Positive], Strict(False), AfterValidator(_ordered)] = (1.0, 1.0)
    rotate: Annotated[float, Ge(0), Le(180)] = 0.0
    crop: Annotated[tuple[Count, Count], Strict(False)] | None = None
    class_max_ratio: Annotated[float, Gt(0), Le(1)] = 1.0
    flip: Share = 0.5
    color_jitter: Share = 0.0
    blur: Share = 0.0
    pca_noise: NotNegative = 0.0
    backend: BackendName = "albumentations"

    @field_validator("class_max_ratio")
    @classmethod
    def _of_a_crop(cls, ratio: float, info: Any) -> float:
        if ratio < 1 and info.data.get("crop", ()) is None:
            raise PydanticCustomError("rule", "expected 1.0 without transforms.crop. Set that too.")
        return ratio
