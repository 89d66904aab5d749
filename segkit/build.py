"""The one place where an experiment meets the tables of components."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from segkit import config
from segkit.data import camvid as camvid_data
from segkit.data import camvid_full as camvid_full_data
from segkit.data import voc as voc_data
from segkit.data.camvid import camvid
from segkit.data.camvid_full import camvid_full
from segkit.data.class_file import read_classes
from segkit.data.class_weights import MedianFrequency, NoWeights, SegNetPublished, cached_count
from segkit.data.classes import Classes
from segkit.data.dataset import Dataset
from segkit.data.folder import folder
from segkit.data.layout import SPLITS, Layout
from segkit.data.loader import Cached, Order, evaluation_batches, steps_per_epoch, training_batches
from segkit.data.streets import Streets
from segkit.data.transforms import EvaluationTransform, TrainingTransform
from segkit.data.voc import voc
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
from segkit.models.encoders.smp import smp_encoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import NORMALIZATIONS
from segkit.models.segmenter import Segmenter
from segkit.models.smp import smp_model
from segkit.models.weights import load_exactly, read_metadata, read_weights
from segkit.plain_yaml import Tree
from segkit.schema import Experiment, Model, Tables
from segkit.validation import validate

LAYOUTS = {"camvid": camvid, "camvid_full": camvid_full, "voc": voc, "folder": folder}
DATASETS = {**LAYOUTS, "streets": Streets}
CLASSES = {"camvid": camvid_data.CLASSES, "voc": voc_data.CLASSES, "streets": camvid_data.CLASSES}
ENCODERS = {"vgg16": VGG16, "alexnet": AlexNet, "googlenet": GoogLeNet, "segnet_basic": SegNetBasicEncoder, "smp": smp_encoder}
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


def load_experiment(
    layers: Path | Sequence[Path | Tree], overrides: Sequence[str] = (), *, title: str | None = None
) -> tuple[Experiment, config.Resolved]:
    """The experiment of a config file, or of several layers, and where its values came from.

    Args:
        layers, overrides: see `config.resolve`.
        title: what messages call the config; None: the path of the file.
    Raises:
        InputError: naming every problem.
    """
    resolved = config.resolve(layers, overrides)
    return validate(resolved.values, resolved.sources, TABLES, config=title or str(layers)), resolved


def build_layout(experiment: Experiment) -> Layout | None:
    """The files of the dataset, none of which was looked at yet; None: it has none, but is drawn."""
    name, options = experiment.data.name, experiment.data.options
    return LAYOUTS[name](**options) if name in LAYOUTS else None


def build_dataset(experiment: Experiment, split: str) -> Dataset:
    """One split: train, val or test.

    Raises:
        InputError: if its files, or the lists that name them, are not as they should be.
    """
    layout = build_layout(experiment)
    return Streets(split, **experiment.data.options) if layout is None else layout.checked(split)


def build_splits(experiment: Experiment, layout: Layout | None, splits: Sequence[str] = SPLITS) -> dict[str, Dataset]:
    """Splits of a `build_layout`, whose lists are not read again.

    Raises:
        InputError: as `build_dataset`.
    """
    return {split: build_dataset(experiment, split) if layout is None else layout.checked(split) for split in splits}


def build_classes(experiment: Experiment) -> Classes:
    """The dataset's classes; no image is needed for them."""
    name, options = experiment.data.name, experiment.data.options
    if name == "folder":
        return read_classes(options["classes"] or options["root"] / "classes.yaml")
    return camvid_full_data.CLASSES[options["grouping"]] if name == "camvid_full" else CLASSES[name]


def build_model(experiment: Experiment, num_classes: int, *, restore: bool = False) -> Segmenter:
    """The model, with its starting weights, or (`restore`) without them where a checkpoint follows.

    torch's random generator starts from the experiment's seed, so equal seeds give equal weights where shapes agree in order.
    """
    torch.manual_seed(experiment.seed)
    source = experiment.model.initialize_from
    model = _starting_model(experiment.model, num_classes, restore=restore or source is not None)
    if source is not None:
        model.pretrained_names = frozenset(name for name, _ in model.named_parameters() if name.startswith("encoder."))
        if not restore:
            initialize(model, source)
    return model.to(memory_format=torch.channels_last) if experiment.training.channels_last else model


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
    """Raises InputError, calling the file `name`, if it says that it was trained with another input than the model expects."""
    names = {str(normalization): f"'{key}'" for key, normalization in NORMALIZATIONS.items()}
    theirs, ours = read_metadata(file).get("normalization", str(model.normalization)), str(model.normalization)
    if theirs != ours:
        raise InputError(
            f"{name} was trained with input {names.get(theirs, theirs)}, this model expects {names[ours]}. "
            "Set model.encoder.normalization (of a whole model, model.normalization), or the weights, as that run has them."
        )


def build_class_weights(experiment: Experiment) -> MedianFrequency | NoWeights | SegNetPublished:
    """What turns counts of pixels into class weights."""
    return CLASS_WEIGHTS[experiment.loss.class_weights.name](**experiment.loss.class_weights.options)


def build_loss(experiment: Experiment, training: Dataset) -> CrossEntropy:
    """The loss, with class weights from the training labels where it has any."""
    weighting, weights = build_class_weights(experiment), None
    if not isinstance(weighting, NoWeights):
        weights = torch.tensor(weighting(cached_count(training), training.class_names), dtype=torch.float32)
    return LOSSES[experiment.loss.function.name](weights, **experiment.loss.function.options)


def build_optimizer(experiment: Experiment, model: Segmenter) -> Optimizer:
    """The optimizer over all parameters of the model."""
    return OPTIMIZERS[experiment.optimizer.name](model, model.pretrained_names, **experiment.optimizer.options)


def build_schedule(experiment: Experiment, optimizer: Optimizer, num_samples: int) -> Schedule:
    """The learning-rate schedule of a run over `num_samples` images."""
    per_epoch = steps_per_epoch(num_samples, experiment.training.batch_size)
    return SCHEDULES[experiment.schedule.name](optimizer, total_steps(experiment, num_samples), per_epoch, **experiment.schedule.options)


def total_steps(experiment: Experiment, num_samples: int) -> int:
    """Steps of the whole run."""
    settings = experiment.training
    return settings.steps or (settings.epochs or 0) * steps_per_epoch(num_samples, settings.batch_size)


def build_steps(
    experiment: Experiment, model: Segmenter, dataset: Dataset, *, first_step: int, device: torch.device, processes: Processes = ALONE
) -> DataLoader:
    """Training steps from `first_step` to the end of the run, this process's share of each."""
    settings = experiment.training
    transform = build_training_transform(experiment, model)
    last_step = total_steps(experiment, len(dataset))
    order = Order(
        len(dataset),
        settings.batch_size,
        seed=experiment.seed,
        first_step=first_step,
        last_step=last_step,
        replacement=settings.replacement,
        rank=processes.rank,
        processes=processes.count,
    )
    source = Cached(dataset) if settings.cache else dataset
    pin_memory = device.type == "cuda"
    return training_batches(source, transform, order, parts=settings.accumulation, workers=settings.workers, pin_memory=pin_memory)


def build_training_transform(experiment: Experiment, model: Segmenter) -> TrainingTransform:
    """What happens to a sample before the network in training."""
    return TrainingTransform(
        mean=model.normalization.mean,
        deviation=model.normalization.deviation,
        **{key: getattr(experiment.transforms, key) for key in type(experiment.transforms).model_fields},
    )


def build_evaluation_transform(experiment: Experiment, model: Segmenter) -> EvaluationTransform:
    """What happens to an image before the network outside of training."""
    normalization, settings = model.normalization, experiment.transforms
    return EvaluationTransform(
        mean=normalization.mean, deviation=normalization.deviation, resolution=settings.resolution, backend=settings.backend
    )


def build_evaluation_batches(experiment: Experiment, model: Segmenter, dataset: Dataset, *, processes: Processes = ALONE) -> DataLoader:
    """Every sample of a split once, in order; this process's share of them."""
    return evaluation_batches(
        dataset,
        build_evaluation_transform(experiment, model),
        batch_size=experiment.evaluation.batch_size,
        workers=experiment.training.workers,
        rank=processes.rank,
        processes=processes.count,
    )
