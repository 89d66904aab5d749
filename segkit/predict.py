"""Predictions of trained runs, for image files and for pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segkit import build
from segkit.compare.collect import run_titles
from segkit.data.dataset import read_image
from segkit.data.folder import read_classes
from segkit.engine.device import choose_device, choose_precision
from segkit.engine.inference import labels_at, predict_logits
from segkit.errors import InputError
from segkit.run import load_best, load_run
from segkit.tracking.run_dir import CLASSES
from segkit.viz.figures import side_by_side
from segkit.viz.overlay import overlay
from segkit.viz.palette import palette_image


class Predictor:
    """Labels of images from the best weights of a run.

    Args:
        path: run folder.
        overrides: changes of its config, such as training.device.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = ()):
        self.experiment, self.run = load_run(path, overrides)
        self.class_names, self.palette = read_classes(path / CLASSES)
        self.device = choose_device(self.experiment.training.device)
        self.precision = choose_precision(self.experiment.training.precision, self.device)
        self.model = load_best(self.experiment, self.run, self.class_names, self.device)
        self.transform = build.build_evaluation_transform(self.experiment, self.model)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] RGB to class ids, uint8 [H, W]."""
        logits = predict_logits(self.model, self.transform(image)[None], device=self.device, precision=self.precision)
        return labels_at(logits, image.shape[:2])[0].cpu().numpy()

    def write(self, path: Path, files: tuple[Path, Path]) -> None:
        """Predicts one image file; writes its class ids with a palette, and the overlay."""
        image = read_image(path)
        labels = self(image)
        files[0].parent.mkdir(parents=True, exist_ok=True)
        palette_image(labels, self.palette).save(files[0])
        Image.fromarray(overlay(image, labels, self.palette)).save(files[1])


def prediction_files(images: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """OUT/NAME.png and OUT/NAME_overlay.png for each image.

    Raises:
        InputError: if an image is missing, or a file would be written twice or over an image.
    """
    files = [(out / f"{path.stem}.png", out / f"{path.stem}_overlay.png") for path in images]
    written: dict[Path, Path] = {}
    sources = {path.resolve() for path in images}
    for path, pair in zip(images, files, strict=True):
        if not path.is_file():
            raise InputError(f"{path} does not exist; expected a PNG or JPEG file. Check the path.")
        for file in pair:
            if file.resolve() in sources:
                raise InputError(f"{file} is one of the images; nothing was written. Choose another folder with --out.")
            if file in written:
                raise InputError(f"{path} and {written[file]} would both be written to {file}. Predict them into different folders.")
            written[file] = path
    return files


def write_side_by_side(paths: Sequence[Path], out: Path, count: int) -> Path:
    """Writes a picture of `count` test images, evenly spread: image, labels, and the prediction of every run."""
    predictors = [Predictor(path) for path in paths]
    dataset = build.build_dataset(predictors[0].experiment, "test")
    rows = []
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int):
        sample = dataset[int(index)]
        predictions = {title: p(sample.image) for title, p in zip(run_titles(paths), predictors, strict=True)}
        rows.append((sample.image, sample.labels, predictions))
    side_by_side(out, rows, class_names=dataset.class_names, palette=dataset.palette)
    return out
