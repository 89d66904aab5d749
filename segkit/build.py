"""The one place where a config meets the tables of components."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from segkit.config.resolve import Resolved, resolve
from segkit.config.schema import Model, RunConfig, Tables
from segkit.config.validate import validate
from segkit.config.yaml import Tree
from segkit.data.class_weights import MedianFrequency, NoWeights, SegNetPublished, cached_count
from segkit.data.classes import Classes
from segkit.data.dataset import Dataset
from segkit.data.datasets import camvid as camvid_data
from segkit.data.datasets import camvid_full as camvid_full_data
from segkit.data.datasets import voc as voc_data
from segkit.data.datasets.camvid import camvid
from segkit.data.datasets.camvid_full import camvid_full
from segkit.data.datasets.class_file import read_classes
from segkit.data.datasets.folder import folder
from segkit.data.datasets.streets import Streets
from segkit.data.datasets.voc import voc
from segkit.data.layout import SPLITS, Layout
from segkit.data.loader import Cached, Order, evaluation_batches, steps_per_epoch, training_batches
from segkit.data.transforms.training import EvaluationTransform, TrainingTransform
from segkit.engine.caffe_sgd import caffe_sgd
from segkit.engine.distributed import ALONE, Processes
from segkit.engine.optim import Schedule, adamw, constant, one_cycle, plateau, poly, sgd, step
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.models.decoders.fcn import fcn8s, fcn16s, fcn32s
from segkit.models.decoders.fcn_basic import (
    BilinearInterpolation,
    fcn_basic,
    fcn_basic_no_addition,
    fcn_basic_no_addition_no_dim_reduction,
    fcn_basic_no_dim_reduction,
)
from segkit.models.decoders.segnet import SegNet
from segkit.models.decoders.segnet_basic import segnet_basic, segnet_basic_encoder_addition, segnet_basic_single_channel
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import NORMALIZATIONS
from segkit.models.segmenter import Segmenter
from segkit.models.smp.encoder import smp_encoder
from segkit.models.smp.model import smp_model
from segkit.models.weights import load_exactly, read_metadata, read_weights

LAYOUTS = {"camvid": camvid, "camvid_full": camvid_full, "voc": voc, "folder": folder}
DATASETS = {**LAYOUTS, "streets": Streets}
CLASSES = {"camvid": camvid_data.CLASSES, "voc": voc_data.CLASSES, "streets": camvid_data.CLASSES}
ENCODERS = {
    "vgg16": VGG16,
    "alexnet": AlexNet,
    "googlenet": GoogLeNet,
    "segnet_basic": SegNetBasicEncoder,
    "smp": smp_encoder,
}
DECODERS = {
    "fcn32s": fcn32s,
    "fcn16s": fcn16s,
    "fcn8s": fcn8s,
    "segnet": SegNet,
    "segnet_basic": segnet_basic,
    "segnet_basic_encoder_addition": segnet_basic_encoder_addition,
    "segnet_basic_single_channel": segnet_basic_single_channel,
    "fcn_basic": fcn_basic,
    "fcn_basic_no_addition": fcn_basic_no_addition,
    "fcn_basic_no_dim_reduction": fcn_basic_no_dim_reduction,
    "fcn_basic_no_addition_no_dim_reduction": fcn_basic_no_addition_no_dim_reduction,
    "bilinear_interpolation": BilinearInterpolation,
}
WHOLE_MODELS = {"smp": smp_model}
LOSSES = {"cross_entropy": CrossEntropy}
CLASS_WEIGHTS = {"none": NoWeights, "median_frequency": MedianFrequency, "segnet_published": SegNetPublished}
OPTIMIZERS = {"sgd": sgd, "caffe_sgd": caffe_sgd, "adamw": adamw}
SCHEDULES = {"constant": constant, "step": step, "poly": poly, "one_cycle": one_cycle, "plateau": plateau}

TABLES: Tables = {
    "data": DATASETS,
    "model": WHOLE_MODELS,
    "model.encoder": ENCODERS,
    "model.decoder": DECODERS,
    "loss.function": LOSSES,
    "loss.class_weights": CLASS_WEIGHTS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def load_config(
    layers: Path | Sequence[Path | Tree], overrides: Sequence[str] = (), *, title: str | None = None
) -> tuple[RunConfig, Resolved]:
    """The run config of a config file, or of several layers, and where its values came from.

    Args:
        layers, overrides: see `resolve`.
        title: what messages call the config; None: the path of the file.
    Raises:
        InputError: naming every problem.
    """
    resolved = resolve(layers, overrides)
    return validate(resolved.values, resolved.sources, TABLES, config=title or str(layers)), resolved


def build_layout(config: RunConfig) -> Layout | None:
    """The files of the dataset, none of which was looked at yet; None: it has none, but is drawn."""
    name, options = config.data.name, config.data.options
    return LAYOUTS[name](**options) if name in LAYOUTS else None


def build_dataset(config: RunConfig, split: str) -> Dataset:
    """One split: train, val or test.

    Raises:
        InputError: if its files, or the lists that name them, are not as they should be.
    """
    layout = build_layout(config)
    return Streets(split, **config.data.options) if layout is None else layout.checked(split)


def build_splits(config: RunConfig, layout: Layout | None, splits: Sequence[str] = SPLITS) -> dict[str, Dataset]:
    """Splits of a `build_layout`, whose lists are not read again.

    Raises:
        InputError: as `build_dataset`.
    """
    return {split: build_dataset(config, split) if layout is None else layout.checked(split) for split in splits}


def build_classes(config: RunConfig) -> Classes:
    """The dataset's classes; no image is needed for them."""
    name, options = config.data.name, config.data.options
    if name == "folder":
        return read_classes(options["classes"] or options["root"] / "classes.yaml")
    return camvid_full_data.CLASSES[options["grouping"]] if name == "camvid_full" else CLASSES[name]


def build_model(config: RunConfig, num_classes: int, *, restore: bool = False) -> Segmenter:
    """The model, with its starting weights, or (`restore`) without them where a checkpoint follows.

    torch's random generator starts from the config's seed, so equal seeds give equal weights where shapes agree in
    order.
    """
    torch.manual_seed(config.seed)
    source = config.model.initialize_from
    model = _starting_model(config.model, num_classes, restore=restore or source is not None)
    if source is not None:
        model.pretrained_names = frozenset(name for name, _ in model.named_parameters() if name.startswith("encoder."))
        if not restore:
            initialize(model, source)
    return model.to(memory_format=torch.channels_last) if config.training.channels_last else model


def _starting_model(parts: Model, num_classes: int, *, restore: bool) -> Segmenter:
    """The model that a config names, whole or by encoder and decoder."""
    if parts.whole is not None:
        return WHOLE_MODELS[parts.whole.name](num_classes, restore, **parts.whole.options)
    assert parts.encoder is not None
    assert parts.decoder is not None
    encoder = ENCODERS[parts.encoder.name](restore, **parts.encoder.options)
    return Segmenter(encoder, DECODERS[parts.decoder.name](encoder.stages, num_classes, **parts.decoder.options))


def initialize(model: Segmenter, source: Path) -> None:
    """Copies the weights of a coarser stage (FCN-32s into FCN-16s, FCN-16s into FCN-8s) or of the same architecture.

    Layers that only one of the two has, score_pool* and upscore*, are left out or keep their start.

    Args:
        source: a run folder (its best weights) or a weight file.
    Raises:
        InputError: listing everything else that does not fit.
    """
    file = start_file(source)
    tensors = read_weights(file)
    require_normalization(model, file, f"model.initialize_from = '{source}'")
    stage = ("decoder.score_pool", "decoder.upscore", "decoder.auxiliary")
    own = model.state_dict()
    tensors = {name: t for name, t in tensors.items() if name in own or not name.startswith(stage)}
    load_exactly(model, tensors, source=str(file), may_lack=tuple(name for name in own if name.startswith(stage)))


def start_file(source: Path) -> Path:
    """The weight file that `model.initialize_from` stands for: itself, or the best weights of a run folder."""
    from segkit.engine.checkpoint import BEST

    return source / "checkpoints" / BEST if source.is_dir() else source


def require_normalization(model: Segmenter, file: Path, name: str) -> None:
    """Raises InputError, calling the file `name`, if it says that it was trained with another input than the model
    expects."""
    names = {str(normalization): f"'{key}'" for key, normalization in NORMALIZATIONS.items()}
    theirs, ours = read_metadata(file).get("normalization", str(model.normalization)), str(model.normalization)
    if theirs != ours:
        raise InputError(
            f"{name} was trained with input {names.get(theirs, theirs)}, this model expects {names[ours]}. "
            "Set model.encoder.normalization (of a whole model, model.normalization), or the weights, as that run has them."
        )


def build_class_weights(config: RunConfig) -> MedianFrequency | NoWeights | SegNetPublished:
    """What turns counts of pixels into class weights."""
    return CLASS_WEIGHTS[config.loss.class_weights.name](**config.loss.class_weights.options)


def build_loss(config: RunConfig, training: Dataset) -> CrossEntropy:
    """The loss, with class weights from the training labels where it has any."""
    weighting, weights = build_class_weights(config), None
    if not isinstance(weighting, NoWeights):
        weights = torch.tensor(weighting(cached_count(training), training.class_names), dtype=torch.float32)
    return LOSSES[config.loss.function.name](weights, **config.loss.function.options)


def build_optimizer(config: RunConfig, model: Segmenter) -> Optimizer:
    """The optimizer over all parameters of the model."""
    return OPTIMIZERS[config.optimizer.name](model, model.pretrained_names, **config.optimizer.options)


def build_schedule(config: RunConfig, optimizer: Optimizer, num_samples: int) -> Schedule:
    """The learning-rate schedule of a run over `num_samples` images."""
    per_epoch = steps_per_epoch(num_samples, config.training.batch_size)
    return SCHEDULES[config.schedule.name](
        optimizer, total_steps(config, num_samples), per_epoch, **config.schedule.options
    )


def total_steps(config: RunConfig, num_samples: int) -> int:
    """Steps of the whole run."""
    settings = config.training
    return settings.steps or (settings.epochs or 0) * steps_per_epoch(num_samples, settings.batch_size)


def build_steps(
    config: RunConfig,
    model: Segmenter,
    dataset: Dataset,
    *,
    first_step: int,
    device: torch.device,
    processes: Processes = ALONE,
) -> DataLoader:
    """Training steps from `first_step` to the end of the run, this process's share of each."""
    settings = config.training
    transform = build_training_transform(config, model)
    last_step = total_steps(config, len(dataset))
    order = Order(
        len(dataset),
        settings.batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=last_step,
        replacement=settings.replacement,
        rank=processes.rank,
        processes=processes.count,
    )
    source = Cached(dataset) if settings.cache else dataset
    pin_memory = device.type == "cuda"
    return training_batches(
        source, transform, order, parts=settings.accumulation, workers=settings.workers, pin_memory=pin_memory
    )


def build_training_transform(config: RunConfig, model: Segmenter) -> TrainingTransform:
    """The transform of training samples."""
    return TrainingTransform(config.transforms, mean=model.normalization.mean, std=model.normalization.deviation)


def build_evaluation_transform(config: RunConfig, model: Segmenter) -> EvaluationTransform:
    """The transform of images outside of training."""
    return EvaluationTransform(config.transforms, mean=model.normalization.mean, std=model.normalization.deviation)


def build_evaluation_batches(
    config: RunConfig, model: Segmenter, dataset: Dataset, *, processes: Processes = ALONE
) -> DataLoader:
    """Every sample of a split once, in order; this process's share of them."""
    return evaluation_batches(
        dataset,
        build_evaluation_transform(config, model),
        batch_size=config.evaluation.batch_size,
        workers=config.training.workers,
        rank=processes.rank,
        processes=processes.count,
    )
