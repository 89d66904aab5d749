"""Predictions of trained runs for image files."""

from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segkit import build
from segkit.data.dataset import read_image
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.inference import labels_at, predict_logits, sample_probabilities
from segkit.errors import InputError
from segkit.runs.trained import open_trained
from segkit.system.files import write_atomically
from segkit.system.machine import require_writable
from segkit.tensors import RawImage
from segkit.viz.overlay import overlay
from segkit.viz.palette import palette_image

UNCERTAINTY = "_uncertainty.png"


class Predictor:
    """Labels, probabilities and logits of images from a trained model.

    An image is uint8 [H, W, 3], RGB, or the path of a PNG or JPEG file.

    Args:
        path: run folder, or a config file if `weights` are given.
        overrides: changes of its config, such as training.device.
        weights: other weights than the run's best, such as those of 'segkit bn-statistics'.
        samples: label by the mean of this many passes with dropout on, and measure how much they vary.
    Attributes:
        config: the run's, with the overrides.
        class_names: names of the classes, by id.
        palette: uint8 [K, 3], a colour for each class.
        uncertainty: of the last image, [H, W] in 0..1: the square root of twice the variance over samples, summed over
            classes; None without samples.
    Raises:
        InputError: if it is neither, there are no weights, or, when called, if the image is of another kind.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        overrides: Sequence[str] = (),
        *,
        weights: str | PathLike[str] | None = None,
        samples: int | None = None,
    ):
        trained = open_trained(Path(path), overrides, weights=Path(weights) if weights is not None else None)
        self.config, self.class_names, self.palette = trained.config, trained.class_names, trained.palette
        self.device = choose_device(self.config.training.device)
        self.precision = choose_precision(self.config.training.precision, self.device)
        self.model = trained.model(self.device)
        self.transform = build.build_evaluation_transform(self.config, self.model)
        self.samples = samples
        self.uncertainty: np.ndarray | None = None

    def __call__(self, image: np.ndarray | str | PathLike[str]) -> np.ndarray:
        """Return the class id of each pixel, uint8 [H, W]."""
        image = checked_image(image)
        scores = self._logits(image) if self.samples is None else self._sampled(image, self.samples)
        return labels_at(scores, image.shape[:2])[0].cpu().numpy()

    def probabilities(self, image: np.ndarray | str | PathLike[str]) -> np.ndarray:
        """Return the probability of each class, float32 [K, H, W]; with samples, their mean."""
        image = checked_image(image)
        if self.samples is None:
            return _at_size(self._logits(image), image).softmax(1)[0].cpu().numpy()
        return _at_size(self._sampled(image, self.samples), image)[0].cpu().numpy()

    def logits(self, image: np.ndarray | str | PathLike[str]) -> np.ndarray:
        """Return the scores before softmax, float32 [K, H, W], of one pass without dropout."""
        image = checked_image(image)
        return _at_size(self._logits(image), image)[0].cpu().numpy()

    def _logits(self, image: np.ndarray) -> Tensor:
        """[1, K, h, w] at network resolution."""
        return predict_logits(self.model, self.transform(image)[None], device=self.device, precision=self.precision)

    def _sampled(self, image: np.ndarray, samples: int) -> Tensor:
        """Mean probabilities [1, K, h, w] at network resolution; the uncertainty is kept."""
        devices = [] if self.device.type == "cpu" else [self.device]  # torch.manual_seed would seed every GPU
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(self.config.seed)
            for device in devices:
                torch.get_device_module(device).manual_seed(self.config.seed)
            means, variance = sample_probabilities(
                self.model, self.transform(image)[None], samples=samples, device=self.device, precision=self.precision
            )
        spread = (2 * len(self.class_names) * variance).sqrt()[None, None]  # at most 1: two classes that change places
        self.uncertainty = _at_size(spread, image)[0, 0].clamp(max=1).cpu().numpy()
        return means

    def write(self, path: Path, files: tuple[Path, ...]) -> None:
        """Predict one image file; write its class ids, overlay and, if sampled, uncertainty (black 0, white 1).

        Without samples, the uncertainty that an earlier call wrote beside them is removed.
        """
        image = read_image(path)
        labels = self(image)
        pictures = [palette_image(labels, self.palette), Image.fromarray(overlay(image, labels, self.palette))]
        if self.uncertainty is not None:
            pictures.append(Image.fromarray((255 * self.uncertainty).round().astype(np.uint8)))
        for file, picture in zip(files, pictures, strict=True):
            write_atomically(file, partial(picture.save, format="PNG"))
        if self.uncertainty is None:
            files[0].with_name(f"{files[0].stem}{UNCERTAINTY}").unlink(missing_ok=True)


def checked_image(image: np.ndarray | str | PathLike[str]) -> RawImage:
    """Return an image as uint8 [H, W, 3], read if it is a path.

    Raises:
        InputError: if it is neither that nor the path of a PNG or JPEG file.
    """
    if isinstance(image, str | PathLike):
        return read_image(Path(image))
    found = type(image).__name__
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
            return np.ascontiguousarray(image)
        found = f"{image.dtype} {list(image.shape)}"
    raise InputError(
        f"the image is {found}; expected uint8 [H, W, 3], RGB, or the path of a PNG or JPEG file. "
        "Convert it as np.asarray(PIL.Image.open(FILE).convert('RGB')) does."
    )


def _at_size(scores: Tensor, image: np.ndarray) -> Tensor:
    """[1, C, h, w] at the image's size, as `labels_at` has it."""
    if tuple(scores.shape[-2:]) == image.shape[:2]:
        return scores
    scores = scores.contiguous(memory_format=torch.channels_last)
    return F.interpolate(scores, size=image.shape[:2], mode="bilinear", align_corners=False)


def prediction_files(images: Sequence[Path], out: Path, *, uncertainty: bool = False) -> list[tuple[Path, ...]]:
    """OUT/NAME.png and OUT/NAME_overlay.png for each image, and OUT/NAME_uncertainty.png.

    Raises:
        InputError: if an image cannot be read, or a file would be written twice, over an image, or nowhere.
    """
    endings = (".png", "_overlay.png", UNCERTAINTY)
    written: dict[Path, Path] = {}
    sources = {path.resolve() for path in images}
    files = []
    for path in images:
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected a PNG or JPEG file. Give its files: {path}/*.png.")
        if not path.is_file():
            raise InputError(f"{path} does not exist; expected a PNG or JPEG file. Check the path.")
        touched = [out / f"{path.stem}{ending}" for ending in endings]  # the last is written or removed
        for file in touched:
            if file.resolve() in sources:
                raise InputError(f"{file} is one of the images; nothing was written. Choose another folder with --out.")
            if file in written:
                both = f"{path} and {written[file]} would both be written to {file}"
                raise InputError(f"{both}. Predict them into different folders.")
            if file.is_dir():
                raise InputError(f"{file} is a folder; nothing was written. Choose another folder with --out.")
            written[file] = path
        files.append(tuple(touched if uncertainty else touched[:2]))
    require_writable(out, "--out")
    for path in images:
        read_image(path)
    return files
