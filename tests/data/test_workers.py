"""Processes that load data, and what ends them. The faults are real: signals, and too little shared memory."""

import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from transform_samples import evaluation_transform, training_transform

from segkit.data import dataset as dataset_module
from segkit.data.dataset import Sample
from segkit.data.datasets.camvid import camvid
from segkit.data.loader import Order, evaluation_batches, training_batches
from segkit.errors import RunError
from segkit.tracking.run_dir import RunDir

ROOT = Path(__file__).parents[2]
NORMALIZATION = {"mean": (120, 110, 100), "std": (60, 55, 50)}

# Python from 3.12 on warns of what torch's workers do
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def workers_of(process: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(process).children() if child.name() == "pt_data_worker"]


def alive(processes) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def start(run, tiny, *settings, before=()):
    """`segkit train` with two workers, in a session of its own, as if started from a terminal."""
    train = [sys.executable, "-m", "segkit", "train", "configs/streets/fcn8s.yaml"]
    command = [*before, *train, *tiny, "training.workers=2", *settings]
    environment = os.environ | {"SEGKIT_CACHE": str(run.parent / "cache")}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, "--run", str(run)], cwd=ROOT, env=environment, start_new_session=True, **pipes)


@pytest.fixture
def training(tiny, tmp_path):
    """A long run that has saved its first checkpoint: (its folder, its process, the workers of training)."""
    run = tmp_path / "run"
    process = start(run, tiny, "training.epochs=1000", "evaluation.every_epochs=50")
    wait_for(lambda: RunDir(run).trained)
    yield run, process, workers_of(process.pid)
    process.kill()
    process.communicate()


def test_a_worker_that_is_killed_ends_the_run_with_one_message(training):
    run, process, (victim, other) = training
    victim.kill()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert re.match(
        rf"segkit: (data worker \(process {victim.pid}\) was killed by a signal: Killed"
        r"|a data worker is gone \(Connection [a-z ]+\))\. "  # killed while it handed a batch over
        "Most likely memory or shared memory ran out; free now: ",
        errors,
    )
    assert errors.endswith(
        " Set training.workers=0, or fewer, or give the machine or container more (docker run --memory, --shm-size). "
        "Checkpoints are kept.\n"
    )
    assert errors.count("\n") == 1
    assert RunDir(run).saved_step > 0
    wait_for(lambda: not alive([other]))


def test_workers_leave_signals_to_the_main_process(training):
    run, process, workers = training
    saved = RunDir(run).saved_step
    for worker in workers:
        for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            worker.send_signal(sent)
    wait_for(lambda: RunDir(run).saved_step > saved)
    assert alive(workers) == workers
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches all of them
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors.splitlines()[1].startswith("segkit: Ctrl-C: stop")
    assert errors.splitlines()[2].startswith("segkit: Ctrl-C: stopped; this resumes after step ")
    assert len(errors.splitlines()) == 3
    assert alive(workers) == []


def samples(count: int, *, size=(8, 8)) -> list[Sample]:
    return [Sample(str(index), np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)) for index in range(count)]


def test_no_worker_outlives_a_main_process_that_is_killed():
    """Those of training wait for work, one of scoring waits for somebody to take what it has."""
    code = (
        "import sys, time; sys.path.insert(0, 'tests/data')\n"
        "from test_workers import *\n"
        "training = iter(training_batches(samples(4), training_transform(NORMALIZATION), Order(4, 2, seed=0, last_step=4), workers=1))\n"
        "scoring = scored(samples(40, size=(400, 600))); next(training), next(scoring)\n"
        "print('ready', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        workers = workers_of(process.pid)
        assert len(alive(workers)) == 2
        process.kill()
    wait_for(lambda: not alive(workers))


class Demanding:
    """Eight samples; some of them need more memory than there is, or for ever."""

    def __init__(self, *, memory: bool = False, patience: bool = False):
        self.memory, self.patience = memory, patience

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        if self.memory:
            torch.empty(2**60, dtype=torch.uint8)
        if self.patience and index:
            time.sleep(600)
        return samples(1)[0]


def scored(dataset, *, workers=1):
    return iter(evaluation_batches(dataset, evaluation_transform(NORMALIZATION), workers=workers))


def begun(dataset, *, workers: int):
    """Batches of which the first was taken, and their workers; other tests may have left some that nobody collected
    yet."""
    others = {process.pid for process in active_children()}
    batches = scored(dataset, workers=workers)
    next(batches)
    return batches, [psutil.Process(process.pid) for process in active_children() if process.pid not in others]


def test_a_worker_ends_when_the_main_process_says_so():
    _batches, (one, other) = begun(Demanding(patience=True), workers=2)
    subprocess.run(["kill", "-TERM", str(one.pid)], check=True)  # from somebody else
    other.terminate()  # from here, as torch does
    wait_for(lambda: not alive([other]))
    assert alive([one]) == [one]


def test_the_death_of_a_worker_is_raised_where_batches_are_asked_for_and_nowhere_else():
    batches, (worker, _) = begun(samples(40), workers=2)
    worker.kill()
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    time.sleep(0.1)  # torch's own handler would raise here
    with pytest.raises(RunError, match=rf"^data worker \(process {worker.pid}\) was killed by a signal: Killed\. "):
        list(batches)


def test_too_little_memory_in_a_worker_is_too_little_memory():
    with pytest.raises(MemoryError):
        next(scored(Demanding(memory=True)))


def test_an_error_in_a_worker_names_the_sample_first(tiny_camvid, monkeypatch):
    def broken(path):
        raise KeyError("a mistake\nin the code")

    monkeypatch.setattr(dataset_module, "read_image", broken)
    train, order = camvid(root=tiny_camvid).checked("train"), Order(7, 7, seed=0, last_step=1)
    first = next(iter(order))[0][1]
    name = f"sample 'train_{first}' ({tiny_camvid}/train/train_{first}.png)"
    with pytest.raises(RunError) as caught:
        list(training_batches(train, training_transform(NORMALIZATION), order, workers=1))
    assert str(caught.value) == (
        f"{name}, KeyError: 'a mistake\\nin the code'. "
        "It happened in a data worker; repeat the command with training.workers=0 to see where in the code."
    )
    with pytest.raises(KeyError) as caught:
        list(training_batches(train, training_transform(NORMALIZATION), order))
    assert caught.value.__notes__ == [name]


def test_too_little_shared_memory_is_one_message_and_no_endless_wait(tiny, tmp_path, little_shared_memory):
    process = start(tmp_path / "run", tiny, before=little_shared_memory)
    try:
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 1
    assert errors.startswith(
        "segkit: a data worker found no room in shared memory (unable to allocate shared memory(shm)"
    )
    assert " of 0 MB of shared memory (/dev/shm). Set training.workers=0, or fewer, or a larger shared memory" in errors
    assert errors.count("\n") == 1
