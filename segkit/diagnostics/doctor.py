"""Checks of `segkit doctor`: readiness for training, and facts for a bug report.

torch is imported only inside the checks that need it.
"""

import importlib.metadata
import platform
import shutil
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from segkit import __version__
from segkit.system.failures import explain
from segkit.system.machine import SHARED_MEMORY, cores, memory, require_writable, shared_memory, size

CHECKOUT = Path(__file__).parents[2]  # holds pyproject.toml and requirements.txt, unless segkit was installed
OPTIONAL = {"wandb"}  # training works without it
LITTLE_MEMORY, LITTLE_DISK, LITTLE_SHARED, FEW_FILES = 2e9, 1e9, 1e9, 1024
Level = Literal["ok", "note", "problem"]  # problem: training would not work, or not as configured


@dataclass(frozen=True)
class Finding:
    """Result of one check: its subject, and what was found; for a problem, also the remedy."""

    level: Level
    topic: str
    text: str


def judged(topic: str, text: str, wrong: bool, remedy: str, *, level: Level = "note") -> Finding:
    """A finding that is of a `level`, with a remedy, where something is wrong; else ok."""
    return Finding(level, topic, text + remedy) if wrong else Finding("ok", topic, text)


def looked_at(topic: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of `look`; an error that it raises becomes a problem."""
    try:
        yield from look()
    except Exception as error:  # of any kind: anything may be broken here
        explained = explain(error)
        text = explained[1] if explained else f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield Finding("problem", topic, text)


def examine(
    config: Path | None, overrides: Sequence[str] = (), *, runs: Path = Path("runs"), step: bool = True
) -> Iterator[Finding]:
    """Check everything that training depends on, and yield the findings.

    Args:
        config: also check the needs of this config, such as its data; None: use a built-in config.
        overrides: changes to the config, `a.b=c`.
        runs: parent of the run folders.
        step: also do one training step.
    """

    def rehearsed() -> Iterator[Finding]:
        from segkit.diagnostics.rehearsal import rehearse  # fails if torch or another package is missing

        return rehearse(config, overrides, runs=runs, step=step)

    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "segkit": _segkit,
        "commit": _commit,
        "packages": lambda: packages(requirements(), locked()),
        "albumentations": licence,
        "processor": _processor,
        "accelerator": _accelerators,
        "memory": _memory,
        "shared memory": _shared,
        "open files": _open_files,
        "runs": lambda: _folder(runs),
        "config": rehearsed,
    }
    for topic, look in looks.items():
        yield from looked_at(topic, look)


def advice(found: Sequence[Finding], command: str | None) -> str:
    """Return one line that says what to do next.

    Args:
        command: command that trains the checked config; None: there was no config.
    """
    problems = ", ".join(dict.fromkeys(finding.topic for finding in found if finding.level == "problem"))
    if problems:
        return f"Training would not work as asked: {problems}. Do what is said there; repeat 'segkit doctor' then."
    command = command or "'segkit doctor CONFIG' looks at a config and its data too."
    return f"Training would work here. Next: {command}"


def requirements() -> list[Requirement]:
    """Return segkit's requirements, from a checkout's pyproject.toml or from the installed package."""
    if (CHECKOUT / "pyproject.toml").is_file():
        lines = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        lines = [line for line in importlib.metadata.requires("segkit") or [] if "extra ==" not in line]
    return [Requirement(line) for line in lines]


def locked() -> dict[str, str]:
    """Return name -> version used in tests, from a checkout's requirements.txt; empty for an installed package."""
    if not (CHECKOUT / "requirements.txt").is_file():
        return {}
    lines = [line.split("#")[0].strip() for line in (CHECKOUT / "requirements.txt").read_text("utf-8").splitlines()]
    return {line.partition("==")[0]: line.partition("==")[2] for line in lines if line}


def packages(wanted: Sequence[Requirement], tested: Mapping[str, str]) -> Iterator[Finding]:
    """Compare installed versions with the ranges that segkit needs and the versions used in its tests."""
    fitting, other = [], []
    for each in wanted:
        if each.marker is not None and not each.marker.evaluate():
            continue
        install = f"Install it: {sys.executable} -m pip install '{each}'"
        try:
            version = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            level = "note" if each.name in OPTIONAL else "problem"
            yield Finding(level, each.name, f"not installed; expected {each}. {install}")
            continue
        if not each.specifier.contains(version, prereleases=True):
            yield Finding("problem", each.name, f"version {version}; expected {each.specifier}. {install}")
        elif version.split("+")[0] != tested.get(each.name, version.split("+")[0]):
            other.append(f"{each.name} {version} ({tested[each.name]})")
        else:
            fitting.append(f"{each.name} {version}")
    if fitting:
        yield Finding("ok", "packages", f"as required: {', '.join(fitting)}")
    if other:
        advice = f"Install the tested versions: {sys.executable} -m pip install -r requirements.txt"
        yield Finding("note", "packages", f"allowed, but not the tested versions: {', '.join(other)}. {advice}")


def licence() -> Iterator[Finding]:
    """Yield a note if `import albumentations` may import AlbumentationsX, which is not MIT-licensed."""
    try:
        version = importlib.metadata.version("albumentationsx")
    except importlib.metadata.PackageNotFoundError:
        return
    text = (
        f"AlbumentationsX {version} (AGPL-3.0 or commercial licence) is installed and has the import name of "
        f"albumentations (MIT). Remove it: {sys.executable} -m pip uninstall albumentationsx; then install "
        "albumentations again. Or train without: transforms.backend=torchvision."
    )
    yield Finding("note", "albumentations", text)


def _segkit() -> Iterator[Finding]:
    yield Finding("ok", "segkit", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable}) on {platform.platform()}")


def _commit() -> Iterator[Finding]:
    from segkit.tracking.run_dir import environment

    commit = environment()["commit"]
    if commit is not None:
        yield Finding("ok", "commit", commit)


def _processor() -> Iterator[Finding]:
    import torch

    from segkit.tracking.run_dir import environment

    about = environment()["processor"]
    features = ", ".join(about.get("features", [])) or "no bfloat16"
    threads = torch.get_num_threads()
    text = f"{about['name']}, {cores()} of {about['cores']} cores usable, torch uses {threads} threads, {features}"
    remedy = f". More threads than cores slow training: OMP_NUM_THREADS={cores()}."
    yield judged("processor", text, threads > cores(), remedy)


def _accelerators() -> Iterator[Finding]:
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    version = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    built = f"torch {torch.__version__} is built for {version}"
    for index in range(count):
        about = torch.cuda.get_device_properties(index)
        with torch.cuda.device(index):
            native = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
            free = torch.cuda.mem_get_info()[0]
        capability = f"capability {about.major}.{about.minor}"
        text = f"{about.name}, {size(free)} of {size(about.total_memory)} free, {capability}, {native}; {built}"
        yield Finding("ok", f"cuda:{index}", text)
    if torch.backends.mps.is_available():
        yield Finding("ok", "mps", "Apple's GPU")
    elif not count:
        said = "".join(f": {' '.join(str(each.message).split())}" for each in caught)
        yield Finding("note", "accelerator", f"none; {built}{said}. Training runs on the CPU.")


def _memory() -> Iterator[Finding]:
    free, whole = memory()
    remedy = ", which is little for training. Lower training.batch_size and training.workers."
    yield judged("memory", f"{size(free)} of {size(whole)} free", free < LITTLE_MEMORY, remedy)


def _shared() -> Iterator[Finding]:
    """Check that data workers have enough shared memory for their batches."""
    found = shared_memory()
    if found is None:
        yield Finding("ok", "shared memory", f"no limit of its own (no {SHARED_MEMORY})")
        return
    text = f"{size(found[0])} of {size(found[1])} free in {SHARED_MEMORY}"
    remedy = ", which is little for data workers. Set training.workers=0, or raise it: docker run --shm-size=8g."
    yield judged("shared memory", text, found[0] < LITTLE_SHARED, remedy)


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    text = "no limit" if limit < 0 else f"at most {limit}"
    remedy = f", which is few for data workers. Raise it: ulimit -n {4 * FEW_FILES}."
    yield judged("open files", text, 0 <= limit < FEW_FILES, remedy)


def _folder(runs: Path) -> Iterator[Finding]:
    """Check that run folders can be written and that there is space for them."""
    require_writable(runs, "--runs")
    free = free_space(runs)
    remedy = ": too little for checkpoints. Make room, or choose another --runs."
    yield judged("runs", f"{runs} can be written, {size(free)} free", free < LITTLE_DISK, remedy, level="problem")


def free_space(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or would be."""
    above = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(above).free
