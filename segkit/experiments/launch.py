"""Training the members of an experiment: in processes on this machine, or as jobs on a cluster."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segkit.errors import InputError
from segkit.experiments.experiment import STAGE, Member, chains
from segkit.system.machine import cores
from segkit.system.signals import stoppable

GRACE_SECONDS = 30  # time for processes to end by themselves


def run_members(
    members: Sequence[Member], file: Path, overrides: Sequence[str], runs: Path, jobs: int, say: Callable[[str], None]
) -> list[str]:
    """Train the unfinished members on this machine, each chain in a process of its own, `jobs` at a time.

    A crash of one leaves the others alone. Each has its own process group, so that Ctrl-C reaches this process alone,
    which passes it on. With several at a time, each gets its share of the processor's cores and, where there are GPUs,
    one of them; its output goes to RUNS/NAME/logs.

    Args:
        say: takes a line about each member and each failure, as they come.
    Returns:
        The lines about failures.
    Raises:
        Interrupted: after a signal, which has ended all processes.
    """
    logs = members[0].run.path.parent / "logs"
    for member in members:
        if member.run.finished:
            say(f"{member.name} is finished")
    if jobs > 1:
        say(f"The output of members goes to {logs}; 'segkit runs {logs.parent}' shows their progress.")
    failures, waiting, free = [], _unfinished(members), list(range(jobs))
    running: dict[subprocess.Popen, tuple[list[Member], Path | None, int]] = {}
    try:
        with stoppable(quiet=True) as stop, stop.deferred():
            while waiting or running:
                stop.check()
                while waiting and free:
                    chain, slot = waiting.pop(0), free.pop(0)
                    log = logs / f"{chain[0].name}.log" if jobs > 1 else None
                    process = _start(member_command(chain, file, overrides, runs), log, slot, jobs)
                    running[process] = chain, log, slot
                time.sleep(0.05)
                for process in [each for each in running if each.poll() is not None]:
                    chain, log, slot = running.pop(process)
                    free.append(slot)
                    for member in chain:
                        if member.run.finished:
                            mean_iou = member.run.result()["test"]["mean_iou"]
                            say(f"{member.name} finished: test mean IoU {100 * mean_iou:.1f}")
                    if process.returncode:
                        failures.append(_failure(chain, process.returncode, log))
                        say(failures[-1])
    except BaseException as stopped:
        _end(list(running), getattr(stopped, "number", signal.SIGTERM))
        raise
    return failures


def _start(command: list[str], log: Path | None, slot: int, jobs: int) -> subprocess.Popen:
    if log is None:
        return subprocess.Popen(command, process_group=0)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        environment = share(slot, jobs)
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, process_group=0)


def share(slot: int, jobs: int) -> dict[str, str]:
    """The environment of one of several processes: its share of the cores, and its GPU."""
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // jobs)))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    gpu = {"CUDA_VISIBLE_DEVICES": visible[slot % len(visible)]} if visible[0] else {}
    return {**os.environ, "OMP_NUM_THREADS": threads, **gpu}


def _failure(members: Sequence[Member], exit_code: int, log: Path | None) -> str:
    """Name the member that failed, how its process ended, and the end of its log."""
    how = f"exit code {exit_code}" if exit_code > 0 else f"signal {-exit_code} (killed: out of memory?)"
    where = ""
    if log is not None:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        where = f" ({log}: {lines[-1]})" if lines else f" ({log})"
    failed = next((member for member in members if not member.run.finished), members[0])
    return f"FAILED: {failed.name} ended with {how}{where}"


def _end(processes: Sequence[subprocess.Popen], number: int) -> None:
    """Pass a signal on, and give the processes time to save their state; a second Ctrl-C ends them at once."""
    try:
        for process in processes:
            process.send_signal(number)
        for process in processes:
            process.wait(GRACE_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        pass
    for process in processes:
        process.terminate()


def member_command(members: Sequence[Member], file: Path, overrides: Sequence[str], runs: Path) -> list[str]:
    """The command that trains some members of one chain, one after the other."""
    choices = [f"{axis}={label}" for axis, label in members[0].chain]
    if STAGE in members[0].choices:
        choices.append(f"{STAGE}={','.join(member.choices[STAGE] for member in members)}")
    return [sys.executable, "-m", "segkit", *_member_arguments(file, choices, overrides, runs)]


def _member_arguments(file: Path, choices: Sequence[str], overrides: Sequence[str], runs: Path) -> list[str]:
    settings = [word for override in overrides for word in ("--set", override)]
    return ["experiment", "member", str(file), *choices, "--runs", str(runs), *settings]


@dataclass(frozen=True)
class Job:
    """A chain as a job of a cluster: submitit calls it there, and requeues it if the job was cut off."""

    command: list[str]

    def __call__(self) -> int:
        """Train to the end, or raise CalledProcessError."""
        return subprocess.run(self.command, check=True).returncode

    def checkpoint(self) -> Any:
        """The job that submitit requeues: the same command resumes from the last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit_members(
    members: Sequence[Member],
    file: Path,
    overrides: Sequence[str],
    runs: Path,
    slurm: Sequence[str] = (),
    *,
    cluster: str = "slurm",
) -> list[Any]:
    """Submit a job for each unfinished chain; return submitit's jobs.

    Args:
        slurm: parameters of submitit, KEY=VALUE, such as timeout_min=600, gpus_per_node=1 or slurm_partition=NAME.
        cluster: "slurm", or "local" for processes of this machine.
    Raises:
        InputError: if submitit is not installed, there is no such cluster here, or a parameter is not known.
    """
    try:
        import submitit
    except ImportError:
        remedy = "which is not installed. Install it: pip install 'segkit[slurm]'"
        raise InputError(f"--launcher {cluster} needs submitit, {remedy}") from None

    parameters = {}
    for setting in slurm:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--slurm {setting}: expected KEY=VALUE, such as timeout_min=600.")
        parameters[key] = int(text) if text.isdigit() else text
    if not (left := _unfinished(members)):
        return []
    try:
        executor = submitit.AutoExecutor(folder=members[0].run.path.parent / "slurm", cluster=cluster)
        executor.update_parameters(**parameters)
        with executor.batch():
            return [executor.submit(Job(member_command(chain, file, overrides, runs))) for chain in left]
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        expected = "Expected a machine with sbatch, and parameters of submitit such as --slurm timeout_min=600."
        raise InputError(f"--launcher {cluster}: {reason}. {expected}") from None


def _unfinished(members: Sequence[Member]) -> list[list[Member]]:
    """The members of each chain that are left to train."""
    left = ([member for member in chain if not member.run.finished] for chain in chains(members))
    return [chain for chain in left if chain]


def sweep_values(members: Sequence[Member], file: Path, overrides: Sequence[str], runs: Path) -> dict[str, Any]:
    """A Weights & Biases sweep over the axes, whose agents train combinations by `segkit experiment member`."""
    axes = [axis for axis, _ in members[0].chain]
    if not axes:
        raise InputError(f"{file} has no axes: there is nothing to sweep over. Use 'segkit experiment run'.")
    tracking = members[0].config.tracking
    return {
        "name": tracking.group,
        "project": tracking.project,
        **({"entity": tracking.entity} if tracking.entity else {}),
        "method": "grid",
        "metric": {"name": "validation/mean_iou", "goal": "maximize"},
        "parameters": {axis: {"values": list(dict.fromkeys(each.choices[axis] for each in members))} for axis in axes},
        "command": ["segkit", *_member_arguments(file, ["${args_no_hyphens}"], overrides, runs)],
    }
