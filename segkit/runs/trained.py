"""Trained models: the best weights of a run, or a config with a weight file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segkit import build
from segkit.config.identity import CHANGES_NO_RESULT, identity
from segkit.config.resolve import differing, load
from segkit.config.schema import RunConfig, config_values
from segkit.data.datasets.class_file import read_classes
from segkit.engine import checkpoint
from segkit.engine.batch_norm import absorb_batch_norm, author_batches, set_statistics
from segkit.engine.device import choose_device, choose_precision, deterministic
from segkit.engine.evaluate import Evaluation, Observer, evaluate
from segkit.errors import InputError
from segkit.models.caffe.layers import Imported, import_caffe
from segkit.models.segmenter import Segmenter
from segkit.models.weights import load_exactly, read_metadata, read_weights
from segkit.system.files import sha256
from segkit.system.machine import require_writable
from segkit.tracking.console import progress_bar
from segkit.tracking.run_dir import CLASSES, CONFIG, RunDir
from segkit.viz.palette import palette_image

STATISTICS = "batch_norm_statistics"  # metadata of weights whose scale and shift hold them


@dataclass(frozen=True)
class Trained:
    """A config and weights that fit it.

    Attributes:
        path: run folder, or config file.
        palette: uint8 [K, 3] RGB.
        run: run folder for the scores; None: not stored, since weights or settings are not the run's own.
    """

    path: Path
    config: RunConfig
    weights: Path
    class_names: tuple[str, ...]
    palette: np.ndarray
    run: RunDir | None

    def model(self, device: torch.device, *, absorb: bool = True) -> Segmenter:
        """The model with its weights, in evaluation mode; `absorb`: with batch norm absorbed into the convolutions."""
        model = build.build_model(self.config, len(self.class_names), restore=True)
        tensors = read_weights(self.weights)
        build.require_normalization(model, self.weights, f"weights {self.weights}")
        load_exactly(model, tensors, source=str(self.weights))
        model = model.to(device).eval()
        return absorb_batch_norm(model) if absorb else model


def open_trained(path: Path, overrides: Sequence[str] = (), *, weights: Path | None = None) -> Trained:
    """Open a run folder with its best weights or others, or a config file with a weight file.

    Args:
        overrides: changes to the config, such as data.root on this machine.
        weights: weight file instead of the run's best.
    Raises:
        InputError: if it is neither, its config is not valid, or there are no weights.
    """
    if path.is_file():
        if weights is None:
            raise InputError(f"{path} is a file; expected a run folder, or a config together with --weights FILE.")
        config, _ = build.load_config(path, overrides)
        classes = build.build_classes(config)
        return Trained(path, config, weights, classes.names, classes.palette, None)
    if not path.exists():
        expected = "expected a run folder, or a config together with --weights FILE. Check the path."
        raise InputError(f"{path} does not exist; {expected}")
    run = RunDir(path).require()
    config, _ = build.load_config(path / CONFIG, overrides)
    classes = read_classes(path / CLASSES)
    best = run.checkpoints / checkpoint.BEST
    if weights is None and not best.is_file():
        remedy = "the run has not finished an epoch. Repeat the 'segkit train' command to resume."
        raise InputError(f"{best} does not exist: {remedy}")
    own = weights is None and differences(run, config).keys() <= set(CHANGES_NO_RESULT)
    return Trained(path, config, weights or best, classes.names, classes.palette, run if own else None)


def differences(run: RunDir, config: RunConfig) -> dict[str, tuple[str, ...]]:
    """Dotted key -> the run's value and that of `config`, where they differ; no `tracking`; later options have defaults.

    Where the same weights are started from, their place may differ.
    """
    before, _ = build.load_config(run.path / CONFIG)
    noted = load(run.config_text(), str(run.path / CONFIG)).get("plugins", [])  # packages may have other versions now
    found = differing([identity(config_values(before) | {"plugins": noted}), identity(config_values(config))])
    source = config.model.initialize_from
    if "model.initialize_from" in found and source is not None:
        file = build.start_file(source)
        if file.is_file() and sha256(file) == run.start_weights:
            del found["model.initialize_from"]
    return found


def evaluate_trained(trained: Trained, split: str, *, observe: Observer | None = None) -> Evaluation:
    """Compute confusion matrices on a split; store them and the predictions in the run folder.

    Args:
        observe: called with id, predicted and true class ids (uint8 [H, W]) of each image.

    Raises:
        InputError: if the classes of the dataset are not those of the run.
    """
    config, names = trained.config, trained.class_names
    dataset = build.build_dataset(config, split)
    if dataset.class_names != names:
        raise InputError(
            f"{trained.path} was trained on the classes {', '.join(names)}; the dataset has "
            f"{', '.join(dataset.class_names)}. Score it on a dataset with the classes of its training."
        )
    device = choose_device(config.training.device)
    precision = choose_precision(config.training.precision, device)
    model = trained.model(device)
    batches = build.build_evaluation_batches(config, model, dataset)

    def keep(name: str, predicted: np.ndarray, labels: np.ndarray) -> None:
        if trained.run is not None:
            file = trained.run.prediction(split, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            palette_image(predicted, trained.palette).save(file)
        if observe is not None:
            observe(name, predicted, labels)

    with deterministic(config.training.deterministic), progress_bar(f"scoring {split}", len(dataset)) as progress:
        found = evaluate(
            model, batches, num_classes=len(names), device=device, precision=precision, progress=progress, observe=keep
        )
    if trained.run is not None:
        trained.run.write_matrices(split, found.ids, found.matrices, dataset.fingerprint())
    return found


def compute_statistics(trained: Trained, out: Path, *, authors: bool) -> None:
    """Write the weights to `out`, with batch-norm statistics of the training split in place of running averages.

    Args:
        authors: count as SegNet's script does, slips included; otherwise every image once, and unbiased variances.
    Raises:
        InputError: if the model has no batch norm, its weights came from Caffe and hold statistics already, images of a
            batch differ in size, or `out` cannot be a new weight file.
    """
    _require_new(out)
    if STATISTICS in read_metadata(trained.weights):
        raise InputError(
            f"{trained.weights} comes from Caffe with its statistics absorbed: there are none to compute. "
            "Use it as it is."
        )
    config = trained.config
    dataset = build.build_dataset(config, "train")
    device = choose_device(config.training.device)
    model = trained.model(device, absorb=False)
    transform = build.build_evaluation_transform(config, model)
    size = config.training.batch_size
    order = np.random.default_rng(config.seed).permutation(len(dataset)).tolist()
    plain = [order[start : start + size] for start in range(0, len(order), size)]
    wanted = author_batches(order, size) if authors else plain
    batches = (_stack([transform(dataset[index].image) for index in indices]).to(device) for indices in wanted)
    total = sum(map(len, wanted))
    with deterministic(config.training.deterministic), progress_bar("batch-norm statistics", total) as progress:
        set_statistics(model, batches, unbiased=not authors, progress=progress)
    checkpoint.save_weights(out, model, metadata={"normalization": str(model.normalization)})


def import_weights(config: RunConfig, file: Path, out: Path, *, backbone_only: bool) -> Imported:
    """Write a .caffemodel to `out` as weights of the config's model.

    Raises:
        InputError: if the file cannot be read or does not fit, or `out` cannot be a new weight file.
    """
    _require_new(out)
    model = build.build_model(config, len(build.build_classes(config).names), restore=True)
    found = import_caffe(file, model, backbone_only=backbone_only)
    model.load_state_dict(found.tensors)
    absorbed = {STATISTICS: "absorbed"} if found.has_statistics else {}
    checkpoint.save_weights(out, model, metadata={"normalization": str(model.normalization), **absorbed})
    return found


def _stack(images: list[Tensor]) -> Tensor:
    """[B, 3, H, W] of images [3, H, W]."""
    if len({image.shape for image in images}) > 1:
        expected = "expected one size in a batch. Add --set training.batch_size=1."
        raise InputError(f"images of the training split differ in size; {expected}")
    return torch.stack(images)


def _require_new(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: expected a file ending in .safetensors.")
    if out.exists():
        raise InputError(f"--out {out} exists; nothing was written. Choose another file, or delete it first.")
    require_writable(out.parent, "--out")
