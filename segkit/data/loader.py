"""Order of samples, and batches.

The order is a function of (seed, epoch); a batch is a function of (seed, step). Neither depends on the number of
workers or on interruptions of the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from segkit.data.dataset import Dataset, PairDataset, Sample
from segkit.data.transforms.training import EvaluationTransform, TrainingTransform, sample_seed
from segkit.data.workers import attempt, from_workers, sample_named, shared, start_worker, started
from segkit.errors import InputError


@dataclass(frozen=True)
class Batch:
    """`image` float32 [B, 3, H, W]; `labels` int64 [B, H, W]; `ids` of the samples."""

    image: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def pin_memory(self) -> "Batch":
        """Return the same batch in page-locked memory."""
        return Batch(self.image.pin_memory(), self.labels.pin_memory(), self.ids)


class Cached:
    """A dataset that keeps every sample in memory once it is read, as uint8."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.samples: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        if index not in self.samples:
            self.samples[index] = self.dataset[index]
        return self.samples[index]


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Return the number of complete batches in one pass over the dataset.

    Raises:
        InputError: if there is none.
    """
    if num_samples < batch_size:
        raise InputError(
            f"training.batch_size = {batch_size}: the training split holds only {num_samples} images; "
            f"expected at most that. Set training.batch_size={num_samples}."
        )
    return num_samples // batch_size


class Order:
    """Order of samples: the (epoch, index) pairs of each step.

    An epoch is a permutation without its incomplete last batch or, with replacement, the same number of independent
    draws. A sample that is drawn twice in an epoch is augmented the same way both times.

    Args:
        num_samples: size of the dataset.
        batch_size: samples per step.
        seed: the run's seed.
        first_step: steps already done.
        last_step: step to stop after.
        replacement: draw with replacement, as FCN's released code does.
        rank, processes: split each step into `processes` equal, contiguous shares and yield only the one of `rank`.
    Raises:
        InputError: if one epoch has no complete batch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        seed: int,
        first_step: int = 0,
        last_step: int,
        replacement: bool = False,
        rank: int = 0,
        processes: int = 1,
    ):
        self.share = batch_size // processes
        self.offset = rank * self.share
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.first_step, self.last_step, self.replacement = first_step, last_step, replacement
        self.steps_per_epoch = steps_per_epoch(num_samples, batch_size)

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.arange(0)
        for step in range(self.first_step, self.last_step):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                rng = np.random.default_rng([self.seed, epoch])
                order = (
                    rng.integers(self.num_samples, size=self.num_samples)
                    if self.replacement
                    else rng.permutation(self.num_samples)
                )
            start = step % self.steps_per_epoch * self.batch_size + self.offset
            yield [(epoch, int(index)) for index in order[start : start + self.share]]


class _Loader(DataLoader):
    """A DataLoader over whole batches; the module `workers` handles the failures and the end of its workers."""

    def __iter__(self) -> Iterator[Any]:
        if not self.num_workers:
            return super().__iter__()
        return from_workers(*started(super().__iter__))


def _name(dataset: Dataset | Cached, index: int) -> str:
    """Return a sample's name for messages: its id and file or, without files, its index."""
    source = dataset.dataset if isinstance(dataset, Cached) else dataset
    if isinstance(source, PairDataset):
        return f"'{source.pairs[index].id}' ({source.pairs[index].image})"
    return str(index)


class _Training(TorchDataset):
    def __init__(self, dataset: Dataset | Cached, transform: TrainingTransform, seed: int, parts: int):
        self.dataset, self.transform, self.seed, self.parts = dataset, transform, seed, parts

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, str]:
        epoch, index = key
        with sample_named(_name(self.dataset, index)):
            sample = self.dataset[index]
            return *self.transform(sample, sample_seed(self.seed, epoch, sample.id)), sample.id

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[Batch] | Exception:
        return attempt(lambda: self._parts(keys))

    def _parts(self, keys: list[tuple[int, int]]) -> list[Batch]:
        size = len(keys) // self.parts
        batches = [_collate([self[key] for key in keys[start : start + size]]) for start in range(0, len(keys), size)]
        shared([tensor for batch in batches for tensor in (batch.image, batch.labels)])
        return batches


def _collate(items: list[tuple[Tensor, Tensor, str]]) -> Batch:
    images, labels, ids = zip(*items, strict=True)
    sizes = {tuple(i.shape[1:]) for i in images}
    if len(sizes) > 1:
        raise InputError(
            f"images of one batch differ in size: {', '.join(sorted(map(str, sizes)))} ({', '.join(ids)}). "
            "Set transforms.crop=[HEIGHT, WIDTH], or training.accumulation to training.batch_size."
        )
    return Batch(torch.stack(images), torch.stack(labels), tuple(ids))


def _unchanged(batch: Any) -> Any:
    return batch


def training_batches(
    dataset: Dataset | Cached,
    transform: TrainingTransform,
    order: Order,
    *,
    parts: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """Return a loader of the steps of `order`; each is a list of `parts` micro-batches of equal length.

    Raises:
        InputError: while iterating, if a file cannot be used or the images of a micro-batch differ in size.
        RunError: while iterating, if a worker is killed or fails.
    """
    return _Loader(
        _Training(dataset, transform, order.seed, parts),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
        generator=torch.Generator(),  # else torch draws from the global generator, which changes dropout
    )


class _Evaluation(TorchDataset):
    def __init__(self, dataset: Dataset, transform: EvaluationTransform):
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Sample]:
        with sample_named(_name(self.dataset, index)):
            sample = self.dataset[index]
            return self.transform(sample.image), sample

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Sample]] | Exception:
        return attempt(lambda: self._items(indices))

    def _items(self, indices: list[int]) -> list[tuple[Tensor, Sample]]:
        items = [self[index] for index in indices]
        shared([image for image, _ in items])
        return items


def evaluation_batches(
    dataset: Dataset,
    transform: EvaluationTransform,
    *,
    batch_size: int = 1,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> DataLoader:
    """Return a loader of lists of (image float32 [3, H, W], sample as on disk): every sample once, in order.

    Args:
        rank, processes: take only the batches whose index modulo `processes` is `rank`.
    Raises:
        InputError: while iterating, if a file cannot be used.
        RunError: while iterating, if a worker is killed or fails.
    """
    starts = range(0, len(dataset), batch_size)[rank::processes]
    return _Loader(
        _Evaluation(dataset, transform),
        batch_sampler=[list(range(len(dataset)))[start : start + batch_size] for start in starts],
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=start_worker,
        generator=torch.Generator(),  # validating must not change training
    )
