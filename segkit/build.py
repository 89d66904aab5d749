"""The tables of components, and the functions that build each part of a config from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from segkit.config.plugins import load_plugins, plugin_files, with_outside_components
from segkit.config.resolve import Resolved, resolve
from segkit.config.schema import RunConfig, Tables, config_values
from segkit.config.signatures import Terms
from segkit.config.validate import validate
from segkit.config.yaml import Tree
from segkit.data.class_weights import ClassCounts, MedianFrequency, NoWeights, SegNetPublished
from segkit.data.classes import Classes, plain_classes
from segkit.data.dataset import Dataset
from segkit.data.datasets import camvid, camvid_full, folder, voc
from segkit.data.datasets.class_file import read_classes
from segkit.data.datasets.streets import Streets
from segkit.data.layout import SPLITS, Layout
from segkit.data.loader import Cached, Order, evaluation_batches, steps_per_epoch, training_batches
from segkit.data.outside import OutsideDataset
from segkit.data.transforms.training import EvaluationTransform, TrainingTransform
from segkit.engine.caffe_sgd import caffe_sgd
from segkit.engine.device import choose_precision
from segkit.engine.distributed import ALONE, Processes
from segkit.engine.optim import adamw, constant, one_cycle, plateau, poly, sgd, step
from segkit.engine.train_state import TrainState
from segkit.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.focal import Focal
from segkit.losses.loss import Loss
from segkit.losses.ohem_cross_entropy import OhemCrossEntropy
from segkit.losses.overlap import Dice, Lovasz
from segkit.losses.weighted_sum import WeightedSum
from segkit.models.decoders import fcn_basic, segnet_basic
from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.decoders.segnet import SegNet
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import NORMALIZATIONS
from segkit.models.segmenter import Segmenter
from segkit.models.smp.encoder import smp_encoder
from segkit.models.smp.model import smp_model
from segkit.models.weights import load_exactly, read_metadata, read_weights

LAYOUTS = {"camvid": camvid.camvid, "camvid_full": camvid_full.camvid_full, "voc": voc.voc, "folder": folder.folder}
DATASETS = {**LAYOUTS, "streets": Streets}
CLASSES = {"camvid": camvid.CLASSES, "voc": voc.CLASSES, "streets": camvid.CLASSES}
ENCODERS = {
    "vgg16": VGG16,
    "alexnet": AlexNet,
    "googlenet": GoogLeNet,
    "segnet_basic": SegNetBasicEncoder,
    "smp": smp_encoder,
}
DECODERS = {
    "fcn32s": FCN32s,
    "fcn16s": FCN16s,
    "fcn8s": FCN8s,
    "segnet": SegNet,
    "segnet_basic": segnet_basic.segnet_basic,
    "segnet_basic_encoder_addition": segnet_basic.segnet_basic_encoder_addition,
    "segnet_basic_single_channel": segnet_basic.segnet_basic_single_channel,
    "fcn_basic": fcn_basic.fcn_basic,
    "fcn_basic_no_addition": fcn_basic.fcn_basic_no_addition,
    "fcn_basic_no_dim_reduction": fcn_basic.fcn_basic_no_dim_reduction,
    "fcn_basic_no_addition_no_dim_reduction": fcn_basic.fcn_basic_no_addition_no_dim_reduction,
    "bilinear_interpolation": fcn_basic.BilinearInterpolation,
}
WHOLE_MODELS = {"smp": smp_model}


def weighted_sum(class_weights: torch.Tensor | None, *, terms: Terms) -> WeightedSum:
    """Return the sum of several losses of the table, each built with its options and multiplied by its weight."""
    return _sum_of(terms, class_weights, TABLES["loss.function"])


def _sum_of(terms: Terms, class_weights: torch.Tensor | None, table: Mapping[str, Any]) -> WeightedSum:
    options = {name: {key: value for key, value in term.items() if key != "weight"} for name, term in terms.items()}
    return WeightedSum([(terms[name]["weight"], table[name](class_weights, **options[name])) for name in terms])


LOSSES = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "ohem_cross_entropy": OhemCrossEntropy,
    "dice": Dice,
    "lovasz": Lovasz,
    "weighted_sum": weighted_sum,
}
CLASS_WEIGHTS = {"none": NoWeights, "median_frequency": MedianFrequency, "segnet_published": SegNetPublished}
OPTIMIZERS = {"sgd": sgd, "caffe_sgd": caffe_sgd, "adamw": adamw}
SCHEDULES = {"constant": constant, "step": step, "poly": poly, "one_cycle": one_cycle, "plateau": plateau}

TABLES: Tables = {
    "data": DATASETS,
    "model.whole": WHOLE_MODELS,
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
    """Load the run config of a config file, or of several layers, and the sources of its values; see `resolve`.

    Args:
        title: name of the config in messages; None: the path of the file.
    Raises:
        InputError: naming every problem.
    """
    resolved = resolve(layers, overrides)
    files = plugin_files(resolved.values.get("plugins"))
    tables, packages = with_outside_components(TABLES, files, resolved.values)
    values = {**resolved.values, "plugins": [*files, *packages]}
    return validate(values, resolved.sources, tables, config=title or str(layers)), resolved


def make(config: RunConfig, place: str, *arguments: Any) -> Any:
    """Return the component at a place of a config, such as model.decoder, built from the arguments and its options."""
    component = config.component(place)
    return tables_of(config)[place][component.name](*arguments, **component.options)


def tables_of(config: RunConfig) -> Tables:
    """Return the tables that a config chooses from: segkit's own, joined by those of its plugins and packages."""
    if not config.plugins:
        return TABLES
    return with_outside_components(TABLES, config.plugin_files, config_values(config))[0]


def build_layout(config: RunConfig) -> Layout | None:
    """The files of the dataset, not yet checked; None for a dataset without files, such as Streets."""
    return make(config, "data") if config.data.name in LAYOUTS else None


def build_dataset(config: RunConfig, split: str) -> Dataset:
    """Open one split: train, val or test.

    Raises:
        InputError: if its files or lists are missing or wrong, or an outside dataset breaks the contract of `Dataset`.
    """
    if layout := build_layout(config):
        return layout.checked(split)
    dataset = make(config, "data", split)
    if config.data.name in DATASETS:
        return dataset
    return OutsideDataset(dataset, config.data.name, partial(load_plugins, config.plugin_files))


def build_splits(config: RunConfig, layout: Layout | None, splits: Sequence[str] = SPLITS) -> dict[str, Dataset]:
    """Some splits of the dataset, as `build_dataset` opens them; the layout's lists are not read again."""
    return {split: build_dataset(config, split) if layout is None else layout.checked(split) for split in splits}


def build_classes(config: RunConfig) -> Classes:
    """The dataset's classes. Reads no image, unless an outside dataset does."""
    name, options = config.data.name, config.data.options
    if name == "folder":
        return read_classes(options["classes"] or options["root"] / "classes.yaml")
    if name == "camvid_full":
        return camvid_full.CLASSES[options["grouping"]]
    if name in CLASSES:
        return CLASSES[name]
    dataset = build_dataset(config, "train")
    return plain_classes(dataset.class_names, dataset.palette)


def build_model(config: RunConfig, num_classes: int, *, restore: bool = False) -> Segmenter:
    """Build the model with its initial weights, or (`restore`) without them if a checkpoint follows.

    Seeds torch's random generator with the config's seed: equal seeds and equal shapes in order give equal weights.
    """
    torch.manual_seed(config.seed)
    source = config.model.initialize_from
    replaced = restore or source is not None  # by other weights: read none now
    if config.model.whole is not None:
        model = make(config, "model.whole", num_classes, replaced)
    else:
        encoder = make(config, "model.encoder", replaced)
        decoder = make(config, "model.decoder", encoder.stages, num_classes)
        model = Segmenter(encoder, decoder, num_classes=num_classes)
    if source is not None:
        model.pretrained_names = frozenset(name for name, _ in model.named_parameters() if name.startswith("encoder."))
        if not restore:
            initialize(model, source)
    return model.to(memory_format=torch.channels_last) if config.training.channels_last else model


def initialize(model: Segmenter, source: Path) -> None:
    """Copy the weights of a coarser stage (FCN-32s into FCN-16s, FCN-16s into FCN-8s) or of the same architecture.

    Layers that only one of the two has (score_pool*, upscore*) are left out or keep their initial values.

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
    """The weight file of `model.initialize_from`: itself, or the best weights of a run folder."""
    from segkit.engine.checkpoint import BEST

    return source / "checkpoints" / BEST if source.is_dir() else source


def require_normalization(model: Segmenter, file: Path, name: str) -> None:
    """Raise InputError about the file `name` if it was trained with another normalization than the model's."""
    names = {str(normalization): f"'{key}'" for key, normalization in NORMALIZATIONS.items()}
    theirs, ours = read_metadata(file).get("normalization", str(model.normalization)), str(model.normalization)
    if theirs != ours:
        raise InputError(
            f"{name} was trained with input {names.get(theirs, theirs)}, this model expects {names[ours]}. "
            "Set model.encoder.normalization (of a whole model, model.whole.normalization), "
            "or the weights, as in that run."
        )


def build_loss(config: RunConfig, class_names: tuple[str, ...], counts: ClassCounts | None) -> Loss:
    """The loss, weighted by the counted training labels where the config has class weights.

    Args:
        counts: None stands for classes of equal size, so that a config can be tried out without reading its labels.
    """
    weighting, weights = make(config, "loss.class_weights"), None
    if not isinstance(weighting, NoWeights):
        counts = counts or ClassCounts(*[(1,) * (len(class_names) + 1)] * 4, total_images=1)
        weights = torch.tensor(weighting(counts, class_names), dtype=torch.float32)
    if config.loss.function.name == "weighted_sum":  # of losses from outside, too
        return _sum_of(config.loss.function.options["terms"], weights, tables_of(config)["loss.function"])
    return make(config, "loss.function", weights)


def build_state(config: RunConfig, model: Segmenter, num_samples: int) -> TrainState:
    """The model with its optimizer and its learning-rate schedule, for a run over `num_samples` images."""
    optimizer = make(config, "optimizer", model, model.pretrained_names)
    per_epoch = steps_per_epoch(num_samples, config.training.batch_size)
    schedule = make(config, "schedule", optimizer, total_steps(config, num_samples), per_epoch)
    return TrainState(model, optimizer, schedule)


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
    """Training steps from `first_step` to the end of the run; this process's share of each."""
    settings = config.training
    order = Order(
        len(dataset),
        settings.batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=total_steps(config, len(dataset)),
        replacement=settings.replacement,
        rank=processes.rank,
        processes=processes.count,
    )
    return training_batches(
        Cached(dataset) if settings.cache else dataset,
        build_training_transform(config, model),
        order,
        parts=settings.accumulation,
        workers=settings.workers,
        pin_memory=device.type == "cuda",
    )


def build_training_transform(config: RunConfig, model: Segmenter) -> TrainingTransform:
    """The transform of training samples."""
    return TrainingTransform(config.transforms, mean=model.normalization.mean, std=model.normalization.std)


def build_evaluation_transform(config: RunConfig, model: Segmenter) -> EvaluationTransform:
    """The transform of images outside of training."""
    return EvaluationTransform(config.transforms, mean=model.normalization.mean, std=model.normalization.std)


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


@dataclass(frozen=True)
class Parts:
    """The parts of one run, made once from its config.

    Attributes:
        splits: of the dataset, by name.
        state: model, optimizer and schedule at their start.
        loss: the loss with its class weights.
        device, precision: of the forward pass.
        total_steps: optimizer steps of the whole run.
        processes: that train together.
    """

    config: RunConfig
    splits: Mapping[str, Dataset]
    state: TrainState
    loss: Loss
    device: torch.device
    precision: torch.dtype
    total_steps: int
    processes: Processes


def build_parts(
    config: RunConfig,
    splits: Mapping[str, Dataset],
    counts: ClassCounts,
    device: torch.device,
    *,
    restore: bool = False,
    processes: Processes = ALONE,
) -> Parts:
    """Build everything that a run trains with.

    Args:
        counts: pixels of each class in the training split.
        restore: leave out initial weights, as a checkpoint follows.
    Raises:
        InputError: if initial weights do not fit, or an epoch has no complete batch.
    """
    names, images = splits["train"].class_names, len(splits["train"])
    model = build_model(config, len(names), restore=restore).to(device)
    state, loss = build_state(config, model, images), build_loss(config, names, counts).to(device)
    precision = choose_precision(config.training.precision, device)
    return Parts(config, splits, state, loss, device, precision, total_steps(config, images), processes)
