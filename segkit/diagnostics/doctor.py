"""Checks of `segkit doctor`: readiness for training, and facts for a bug report.

torch is imported only inside the checks that need it.
"""

import importlib.metadata
import platform
import shutil
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from segkit import __version__
from segkit.diagnostics.findings import Finding, looked_at
from segkit.system.machine import SHARED_MEMORY, cores, memory, require_writable, shared_memory, size

CHECKOUT = Path(__file__).parents[2]  # holds pyproject.toml and requirements.txt, unless segkit was installed
OPTIONAL = {"wandb"}  # training works without it
LITTLE_MEMORY, LITTLE_DISK, LITTLE_SHARED, FEW_FILES = 2e9, 1e9, 1e9, 1024


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
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "segkit": _segkit,
        "commit": _commit,
        "packages": lambda: packages(requirements(), locked()),
        "albumentations": licence,
        "processor": _processor,
        "accelerator": _accelerators,
        "memory": _memory,
        "shared memory": lambda: shared(SHARED_MEMORY),
        "open files": _open_files,
        "runs": lambda: folder(runs),
        "config": lambda: _rehearsed(config, overrides, runs, step),
    }
    for topic, look in looks.items():
        yield from looked_at(topic, look)


def _rehearsed(config: Path | None, overrides: Sequence[str], runs: Path, step: bool) -> Iterator[Finding]:
    from segkit.diagnostics.rehearsal import rehearse  # fails if torch or another package is missing

    yield from rehearse(config, overrides, runs=runs, step=step)


def advice(found: Sequence[Finding], command: str | None) -> str:
    """Return one line that says what to do next.

    Args:
        command: command that trains the checked config; None: there was no config.
    """
    problems = list(dict.fromkeys(finding.topic for finding in found if finding.level == "problem"))
    if problems:
        lines = "Its line says" if len(problems) == 1 else "Their lines say"
        return (
            f"Training would not work as asked: {', '.join(problems)}. {lines} what to do; repeat 'segkit doctor' then."
        )
    return "Training would work here. Next: " + (
        command or "'segkit doctor CONFIG' looks at a config and its data too."
    )


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
    yield Finding(
        "note",
        "albumentations",
        f"AlbumentationsX {version} (AGPL-3.0 or commercial licence) is installed and has the import name of "
        f"albumentations (MIT). Remove it: {sys.executable} -m pip uninstall albumentationsx; then install "
        "albumentations again. Or train without: transforms.backend=torchvision.",
    )


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
    if threads > cores():
        yield Finding("note", "processor", f"{text}. More threads than cores slow training: OMP_NUM_THREADS={cores()}.")
    else:
        yield Finding("ok", "processor", text)


def _accelerators() -> Iterator[Finding]:
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    built = f"torch {torch.__version__} is built for " + (
        f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    )
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
    text = f"{size(free)} of {size(whole)} free"
    if free < LITTLE_MEMORY:
        yield Finding(
            "note", "memory", f"{text}, which is little for training. Lower training.batch_size and training.workers."
        )
    else:
        yield Finding("ok", "memory", text)


def shared(place: Path) -> Iterator[Finding]:
    """Check that data workers have enough shared memory for their batches."""
    found = shared_memory(place)
    if found is None:
        yield Finding("ok", "shared memory", f"no limit of its own (no {place})")
    elif found[0] < LITTLE_SHARED:
        text = f"{size(found[0])} of {size(found[1])} free in {place}, which is little for data workers"
        yield Finding(
            "note", "shared memory", f"{text}. Set training.workers=0, or raise it: docker run --shm-size=8g."
        )
    else:
        yield Finding("ok", "shared memory", f"{size(found[0])} of {size(found[1])} free in {place}")


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < FEW_FILES:
        yield Finding(
            "note",
            "open files",
            f"at most {limit}, which is few for data workers. Raise it: ulimit -n {4 * FEW_FILES}.",
        )
    else:
        yield Finding("ok", "open files", "no limit" if limit < 0 else f"at most {limit}")


def folder(runs: Path) -> Iterator[Finding]:
    """Check that run folders can be written and that there is space for them."""
    require_writable(runs, "--runs")
    above = next(each for each in (runs, *runs.absolute().parents) if each.exists())
    free = shutil.disk_usage(above).free
    if free < LITTLE_DISK:
        yield Finding(
            "problem",
            "runs",
            f"{size(free)} free at {runs}: too little for checkpoints. Make room, or choose another --runs.",
        )
    else:
        yield Finding("ok", "runs", f"{runs} can be written, {size(free)} free")
