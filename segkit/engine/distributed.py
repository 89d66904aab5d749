"""Several processes that train one model, started by torchrun.

Each has its share of every batch, and gradients are averaged. Without torchrun there is one process, `ALONE`, and
everything here does nothing. Numbers are exchanged over gloo, on the CPU, whatever the device: it notices at once when
a process has died.
"""

import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from segkit.engine.finite import NonFinite
from segkit.errors import InputError, RunError
from segkit.system.signals import Interrupted

TIMEOUT = timedelta(minutes=10)  # for a process that is alive but does not answer
PATIENCE = timedelta(days=1)  # while process 0 works for all
# in torch's messages about lost processes: on the CPU these errors have no class of their own
_LOST = re.compile(r"/gloo/|pair closure|by peer|NCCL")
Value = TypeVar("Value")
Numbers = Sequence[float | Tensor]


class Elsewhere(RunError):
    """Another process, of the given rank, failed and reports the reason itself."""

    def __init__(self, rank: int):
        super().__init__(
            f"Stopped because process {rank} failed (see its message). Fix that and repeat the command to resume."
        )


class Processes:
    """This process among those that train one model; if one stops, all stop at the same step.

    Every process calls the same methods in the same order.

    Args:
        rank: of this process; process 0 writes and prints.
        count: number of processes.
        local_rank: rank among those on this machine.
        patient: process group with a long timeout; None: the default group.
    """

    def __init__(self, rank: int = 0, count: int = 1, local_rank: int = 0, patient: dist.ProcessGroup | None = None):
        self.rank, self.count, self.local_rank = rank, count, local_rank
        self.stopping = False  # by agreement
        self._patient = patient

    def device(self, device: torch.device) -> torch.device:
        """This process's own device of that kind.

        Raises:
            InputError: if there is none.
        """
        if self.count == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise InputError(
                f"training.device = '{device.type}': several processes train on cuda or cpu. Set training.device=cpu."
            )
        if self.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"this machine has {torch.cuda.device_count()} GPUs, expected one for each of its processes. "
                f"Use --nproc-per-node {torch.cuda.device_count()}, or set training.device=cpu."
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def seed(self, seed: int) -> None:
        """Give every process but the first a random stream of its own, so that no two have the same dropout."""
        if self.rank:
            torch.manual_seed(int(np.random.SeedSequence([seed, self.rank]).generate_state(1, np.uint64)[0]))

    def replicated(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model with process 0's weights everywhere; a backward pass leaves the mean gradient of all processes.

        Layers without a gradient keep none. Batch norm normalizes by this process's own images. Buckets are never
        rearranged, so that a resumed run sums gradients in the same order.
        """
        if self.count == 1:
            return model
        return DistributedDataParallel(
            _Replica(model).to(device),
            device_ids=[device.index] if device.type == "cuda" else None,
            forward_sync_buffers=False,
            find_unused_parameters=True,
            gradient_as_bucket_view=True,
        )

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of process 0, such as the running averages of batch norm."""
        if self.count > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def means(self, call: Callable[[], Numbers], size: int) -> Numbers:
        """Average the `size` numbers that `call` returns over all processes; if it fails in one, all stop."""
        if self.count == 1:
            return call()
        sums, failure = torch.zeros(1 + size, dtype=torch.float64), None
        try:
            sums[1:] = torch.tensor([float(number) for number in call()])
        except BaseException as error:
            sums[0], failure = 1, error
        dist.all_reduce(sums)
        if sums[0]:
            self.together(lambda: _raise(failure))
        return (sums[1:] / self.count).tolist()

    def together(self, call: Callable[[], Value], *, patient: bool = False) -> list[Value]:
        """Call in every process and return all results, in order of rank; if it fails in one, all stop.

        Args:
            patient: one may take much longer than another.
        Raises:
            Elsewhere: if it failed in another process only.
            Interrupted: if it was interrupted, here or in another process.
        """
        if self.count == 1:
            return [call()]
        value, failure = None, None
        try:
            value = call()
        except BaseException as error:
            failure = error
        results: list[Any] = [None] * self.count
        end = None if failure is None else failure.number if isinstance(failure, Interrupted) else 0
        dist.all_gather_object(results, (value, end), group=self._patient if patient else None)
        ends = [end for _, end in results]
        self.stopping = self.stopping or any(end is not None for end in ends)
        if not isinstance(failure, Interrupted):
            _raise(failure)
        if 0 in ends:
            raise Elsewhere(ends.index(0)) from None
        if any(ends):
            raise Interrupted(next(filter(None, ends))) from None
        return [value for value, _ in results]

    def lead(self, call: Callable[[], Value]) -> Value:
        """Call in process 0 alone and return its result in all; the others wait, and stop if it fails."""
        results = self.together(lambda: None if self.rank else call(), patient=True)
        return results[0]  # pyright: ignore[reportReturnType]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let process 0 go first, then the others, then wait for all. If one fails, all stop."""
        if self.count == 1:
            yield
            return
        failure = None
        if self.rank:
            self.lead(lambda: None)
        try:
            yield
        except BaseException as error:
            failure = error
        if not self.rank:
            self.lead(lambda: _raise(failure))
        self.together(lambda: _raise(failure), patient=True)

    def command(self, words: Sequence[str]) -> str:
        """The shell command that starts segkit with some arguments in as many processes."""
        if self.count == 1:
            return shlex.join(["segkit", *words])
        all_here = os.environ.get("LOCAL_WORLD_SIZE") == str(self.count)
        machine = f"--standalone --nproc-per-node {self.count}" if all_here else "..."
        # `--`: torchrun has options of its own that begin with --run
        return f"torchrun {machine} -m -- {shlex.join(['segkit', *words])}"


ALONE = Processes()


class _Replica(nn.Module):
    """A model with an unused parameter: torch is set to search for such ones, and warns if it finds none."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Any:
        return self.model(image)


def _raise(failure: BaseException | None) -> None:
    if failure is not None:
        raise failure


def without_exchange(network: nn.Module) -> AbstractContextManager:
    """Accumulate gradients in each process without exchanging them."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


@contextmanager
def joined() -> Iterator[Processes]:
    """Yield this process among those of torchrun, or `ALONE`; only process 0 prints, others report their failures.

    Raises:
        RunError: if another process has ended before this one.
    """
    found = {name: int(os.environ.get(name, -1)) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if min(found.values()) < 0 or found["WORLD_SIZE"] == 1:
        yield ALONE
        return
    rank = found["RANK"]
    try:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT)
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        count, local_rank = found["WORLD_SIZE"], found["LOCAL_RANK"]
        processes = Processes(rank, count, local_rank, patient)  # pyright: ignore[reportArgumentType]
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere) if rank else nullcontext():
            try:
                yield processes
            finally:
                failure = sys.exception()
                if failure is not None:
                    _finish_speaking()
                agreed = processes.stopping or isinstance(failure, NonFinite)
                if agreed:
                    with suppress(RuntimeError):
                        dist.all_reduce(torch.zeros(1))  # wait until all have finished their part
                    _finish_speaking()
                if agreed or failure is None or backend == "gloo":  # NCCL would wait for ever
                    dist.destroy_process_group()
    except Exception as error:
        shown = _shown(error, rank)
        if shown is error:
            raise  # torch puts the rank before each line of its traceback
        raise shown from None


def _finish_speaking() -> None:
    """Ignore SIGTERM while saying why: torchrun sends it to all as soon as one process ends."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _shown(error: Exception, rank: int) -> BaseException:
    """The error to show for one process: process 0 reports what stopped all, the others their own failures."""
    lost = isinstance(error, dist.DistError) or bool(isinstance(error, RuntimeError) and _LOST.search(str(error)))
    if rank and (lost or isinstance(error, Elsewhere | NonFinite)):
        return SystemExit(1)
    if lost:
        return RunError(
            "another process has ended or does not answer: see its message, or it was killed (out of memory?), or its "
            "machine is lost. The last checkpoint is whole: repeat the command to resume."
        )
    if rank and isinstance(error, InputError | RunError):
        kind = InputError if isinstance(error, InputError) else RunError
        return kind(f"process {rank}: {error}")
    return error
