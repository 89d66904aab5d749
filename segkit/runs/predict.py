"""Predictions of trained runs for image files."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from segkit import build
from segkit.data.dataset import read_image
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.inference import labels_at, predict_logits, sample_probabilities
from segkit.errors import InputError
from segkit.runs.trained import open_trained
from segkit.system.files import write_atomically
from segkit.system.machine import require_writable
from segkit.viz.overlay import overlay
from segkit.viz.palette import palette_image

UNCERTAINTY = "_uncertainty.png"


class Predictor:
    """Labels of images from a trained model.

    Args:
        path: run folder, or a config file if `weights` are given.
        overrides: changes of its config, such as training.device.
        weights: other weights than the run's best, such as those of 'segkit bn-statistics'.
        samples: label by the mean of so many passes with dropout on, and say how much they vary.
    Attributes:
        uncertainty: of the last image, [H, W] in 0..1: the square root of twice the variance over samples, summed over
            classes; None without samples.
    """

    def __init__(
        self, path: Path, overrides: Sequence[str] = (), *, weights: Path | None = None, samples: int | None = None
    ):
        trained = open_trained(path, overrides, weights=weights)
        self.config, self.class_names, self.palette = trained.config, trained.class_names, trained.palette
        self.device = choose_device(self.config.training.device)
        self.precision = choose_precision(self.config.training.precision, self.device)
        self.model = trained.model(self.device)
        self.transform = build.build_evaluation_transform(self.config, self.model)
        self.samples = samples
        self.uncertainty: np.ndarray | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] RGB to class ids, uint8 [H, W]."""
        batch, options = self.transform(image)[None], {"device": self.device, "precision": self.precision}
        if self.samples is None:
            scores = predict_logits(self.model, batch, **options)
        else:
            devices = (
                [] if self.device.type == "cpu" else [self.device]
            )  # besides the CPU; torch.manual_seed would seed every GPU
            with torch.random.fork_rng(devices):
                torch.default_generator.manual_seed(self.config.seed)
                for device in devices:
                    torch.get_device_module(device).manual_seed(self.config.seed)
                scores, variance = sample_probabilities(self.model, batch, samples=self.samples, **options)
            spread = (2 * len(self.class_names) * variance).sqrt()[
                None, None
            ]  # at most 1: two classes that change places
            enlarged = F.interpolate(spread, size=image.shape[:2], mode="bilinear", align_corners=False)
            self.uncertainty = enlarged[0, 0].clamp(max=1).cpu().numpy()
        return labels_at(scores, image.shape[:2])[0].cpu().numpy()

    def write(self, path: Path, files: tuple[Path, ...]) -> None:
        """Predicts one image file; writes its class ids with a palette, the overlay, and the uncertainty (black 0,
        white 1) if sampled.

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


def prediction_files(images: Sequence[Path], out: Path, *, uncertainty: bool = False) -> list[tuple[Path, ...]]:
    """OUT/NAME.png and OUT/NAME_overlay.png for each image, and OUT/NAME_uncertainty.png.

    Raises:
        InputError: if an image cannot be read, a file would be written twice or over an image, or none can be written
            there.
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
                raise InputError(
                    f"{path} and {written[file]} would both be written to {file}. Predict them into different folders."
                )
            if file.is_dir():
                raise InputError(f"{file} is a folder; nothing was written. Choose another folder with --out.")
            written[file] = path
        files.append(tuple(touched if uncertainty else touched[:2]))
    require_writable(out, "--out")
    for path in images:
        read_image(path)
    return files
