"""Training the members of an experiment: in processes on this machine, or as jobs on a cluster."""

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from segkit.errors import InputError
from segkit.experiments.experiment import STAGE, Member, chains
from segkit.system.signals import SIGNALS, Interrupted

GRACE_SECONDS = 30  # time for processes to end by themselves


@dataclass(frozen=True)
class Outcome:
    """The end of one process; `log` is None where its output went to the terminal."""

    members: list[Member]
    exit_code: int
    log: Path | None

    def failure(self) -> str:
        """Name the member that failed, how its process ended, and the end of its log."""
        code, where = self.exit_code, ""
        how = f"exit code {code}" if code > 0 else f"signal {-code} (killed: out of memory?)"
        if self.log is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            where = f" ({self.log}: {lines[-1]})" if lines else f" ({self.log})"
        failed = next((member for member in self.members if not member.run.finished), self.members[0])
        return f"FAILED: {failed.name} ended with {how}{where}"


def run_members(
    members: Sequence[Member], file: Path, overrides: Sequence[str], runs: Path, jobs: int, say: Callable[[str], None]
) -> list[str]:
    """Train the unfinished members on this machine, `jobs` chains at a time.

    Args:
        say: takes a line about each member and each failure, as they come.
    Returns:
        The lines about failures.
    """
    failures = []

    def report(outcome: Outcome) -> None:
        for member in outcome.members:
            if member.run.finished:
                say(f"{member.name} finished: test mean IoU {100 * member.run.result()['test']['mean_iou']:.1f}")
        if outcome.exit_code:
            failures.append(outcome.failure())
            say(failures[-1])

    for member in members:
        if member.run.finished:
            say(f"{member.name} is finished")
    logs = members[0].run.path.parent / "logs"
    if jobs > 1:
        say(f"The output of members goes to {logs}; 'segkit runs {logs.parent}' shows their progress.")
    commands = [(chain, member_command(chain, file, overrides, runs)) for chain in _unfinished(members)]
    Processes(jobs, logs).run(commands, report)
    return failures


def member_command(members: Sequence[Member], file: Path, overrides: Sequence[str], runs: Path) -> list[str]:
    """The command that trains some members of one chain, one after the other."""
    choices = [f"{axis}={label}" for axis, label in members[0].chain]
    if STAGE in members[0].choices:
        choices.append(f"{STAGE}={','.join(member.choices[STAGE] for member in members)}")
    return [sys.executable, "-m", "segkit", *_member_arguments(file, choices, overrides, runs)]


def _member_arguments(file: Path, choices: Sequence[str], overrides: Sequence[str], runs: Path) -> list[str]:
    settings = [word for override in overrides for word in ("--set", override)]
    return ["experiment", "member", str(file), *choices, "--runs", str(runs), *settings]


@dataclass
class Processes:
    """Separate processes that train chains of members, so that a crash of one leaves the others alone.

    Each has its own process group, so that Ctrl-C reaches this process alone, which passes it on.
    With several at a time, each gets its share of the processor's cores and, where there are GPUs, one of them; its
    output goes to LOGS.

    Args:
        jobs: processes at a time.
        logs: folder.
    """

    jobs: int
    logs: Path
    running: set[subprocess.Popen] = field(default_factory=set)
    stopping: bool = False

    def run(self, commands: Sequence[tuple[list[Member], list[str]]], report: Callable[[Outcome], None]) -> None:
        """Run the command of each chain; call `report` after each. A signal to this process ends them all."""
        slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(self.jobs):
            slots.put(slot)
        futures: list[Future[Outcome]] = []
        with _signals_as_exceptions(), ThreadPoolExecutor(self.jobs) as pool:
            try:
                futures += [pool.submit(self._one, chain, command, slots) for chain, command in commands]
                for future in as_completed(futures):
                    report(future.result())
            except BaseException as stop:
                self.stopping = True
                pool.shutdown(wait=False, cancel_futures=True)
                self._end(signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
                raise

    def _end(self, number: signal.Signals) -> None:
        """Pass a signal on, and give the processes time to save their state; a second Ctrl-C ends them at once."""
        try:
            for process in list(self.running):
                process.send_signal(number)
            for process in list(self.running):
                process.wait(GRACE_SECONDS)
        except (KeyboardInterrupt, SystemExit, subprocess.TimeoutExpired):
            pass
        for process in list(self.running):
            process.terminate()

    def _one(self, members: list[Member], command: list[str], slots: queue.SimpleQueue) -> Outcome:
        slot, log = slots.get(), None
        try:
            if self.jobs == 1:
                process = subprocess.Popen(command, process_group=0)
            else:
                self.logs.mkdir(parents=True, exist_ok=True)
                log = self.logs / f"{members[0].name}.log"
                with log.open("w") as file:
                    process = subprocess.Popen(
                        command, stdout=file, stderr=subprocess.STDOUT, env=_share(slot, self.jobs), process_group=0
                    )
            self.running.add(process)
            if self.stopping:  # it was started while the others were ended
                process.terminate()
            exit_code = process.wait()
            self.running.discard(process)
            return Outcome(members, exit_code, log)
        finally:
            slots.put(slot)


def _share(slot: int, jobs: int) -> dict[str, str]:
    """The environment of one of several processes: its share of the cores, and its GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    gpu = {"CUDA_VISIBLE_DEVICES": visible[slot % len(visible)]} if visible[0] else {}
    return {**os.environ, "OMP_NUM_THREADS": threads, **gpu}


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Raise SystemExit on signals other than Ctrl-C, with an interrupted run's exit code, so that children end too."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(Interrupted(number).exit_code)

    before = {number: signal.getsignal(number) for number in SIGNALS if number != signal.SIGINT}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        raise InputError(
            f"--launcher {cluster} needs submitit, which is not installed. Install it: pip install 'segkit[slurm]'"
        ) from None

    parameters = {}
    for setting in slurm:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--slurm {setting}: expected KEY=VALUE, such as timeout_min=600.")
        parameters[key] = int(text) if text.isdigit() else text
    left = _unfinished(members)
    if not left:
        return []
    try:
        executor = submitit.AutoExecutor(folder=members[0].run.path.parent / "slurm", cluster=cluster)
        executor.update_parameters(**parameters)
        with executor.batch():
            return [executor.submit(Job(member_command(chain, file, overrides, runs))) for chain in left]
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"--launcher {cluster}: {reason}. Expected a machine with sbatch, and parameters of submitit such as "
            "--slurm timeout_min=600."
        ) from None


def _unfinished(members: Sequence[Member]) -> list[list[Member]]:
    """The members of each chain that are left to train."""
    left = ([member for member in chain if not member.run.finished] for chain in chains(members))
    return [chain for chain in left if chain]


def sweep_values(members: Sequence[Member], file: Path, overrides: Sequence[str], runs: Path) -> dict[str, Any]:
    """A Weights & Biases sweep over the axes, whose agents train combinations by `segkit experiment member`."""
    axes = dict.fromkeys(axis for axis, _ in members[0].chain)
    if not axes:
        raise InputError(f"{file} has no axes: there is nothing to sweep over. Use 'segkit experiment run'.")
    tracking = members[0].config.tracking
    return {
        "name": tracking.group,
        "project": tracking.project,
        **({"entity": tracking.entity} if tracking.entity else {}),
        "method": "grid",
        "metric": {"name": "validation/mean_iou", "goal": "maximize"},
        "parameters": {
            axis: {"values": list(dict.fromkeys(member.choices[axis] for member in members))} for axis in axes
        },
        "command": ["segkit", *_member_arguments(file, ["${args_no_hyphens}"], overrides, runs)],
    }
