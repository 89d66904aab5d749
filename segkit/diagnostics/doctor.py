"""`segkit doctor`: whether training would work here, and what to write into a report about it. Loads torch only to look
at it."""

import importlib.metadata
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from segkit import __version__
from segkit.diagnostics.findings import Finding, looked_at
from segkit.system.machine import SHARED_MEMORY, cores, memory, require_writable, shared_memory, size

REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"  # of a checkout; an installed package holds its own
SAFE_TORCH = Version("2.10")  # below: CVE-2025-32434, CVE-2026-24747
OPTIONAL = {"wandb"}  # training works without
LITTLE_MEMORY, LITTLE_DISK, LITTLE_SHARED, FEW_FILES = 2e9, 1e9, 1e9, 1024


def examine(
    config: Path | None, overrides: Sequence[str] = (), *, runs: Path = Path("runs"), step: bool = True
) -> Iterator[Finding]:
    """Everything that training rests on, one after the other.

    Args:
        config: also look at what this one needs, such as its data; None: train a built-in one.
        overrides: changes to the config, `a.b=c`.
        runs: where run folders go.
        step: also do one training step.
    """
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "segkit": _segkit,
        "commit": _commit,
        "packages": lambda: packages(requirements()),
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
    from segkit.diagnostics.rehearsal import rehearse  # fails without torch and the like

    yield from rehearse(config, overrides, runs=runs, step=step)


def advice(found: Sequence[Finding], command: str | None) -> str:
    """The one line of what to do next.

    Args:
        command: that trains what was looked at; None: there was no config.
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
    """What segkit needs, in the versions that are known to work together."""
    if REQUIREMENTS.is_file():
        lines = [line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    else:
        lines = [line for line in importlib.metadata.requires("segkit") or [] if "extra ==" not in line]
    return [Requirement(line) for line in lines if line]


def packages(wanted: Sequence[Requirement]) -> Iterator[Finding]:
    """Versions of packages beside those that are asked for."""
    fitting = []
    for each in wanted:
        if each.marker is not None and not each.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                "note" if each.name in OPTIONAL else "problem",
                each.name,
                f"not installed; expected {each}. Install it: {_install(each)}",
            )
            continue
        if each.specifier.contains(version, prereleases=True):
            fitting.append(f"{each.name} {version}")
        else:
            yield Finding(
                "problem", each.name, f"version {version}; expected {each.specifier}. Install it: {_install(each)}"
            )
        if each.name == "torch" and Version(version) < SAFE_TORCH:
            yield Finding(
                "problem",
                "torch",
                f"version {version} runs code that a weight file may hold; expected {SAFE_TORCH} or newer. Update it.",
            )
    if fitting:
        yield Finding("ok", "packages", f"as required: {', '.join(fitting)}")


def licence() -> Iterator[Finding]:
    """Whether `import albumentations` may give AlbumentationsX, which is not MIT-licensed."""
    try:
        version = importlib.metadata.version("albumentationsx")
    except importlib.metadata.PackageNotFoundError:
        return
    text = f"AlbumentationsX {version} (AGPL-3.0 or commercial licence) is installed and has the import name of albumentations (MIT)"
    way = f"Remove it: {sys.executable} -m pip uninstall albumentationsx; then install albumentations again. Or train without: "
    yield Finding("note", "albumentations", f"{text}. {way}transforms.backend=torchvision.")


def _install(wanted: Requirement) -> str:
    return f"{sys.executable} -m pip install '{wanted}'"


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
    """Memory that data workers hand their batches over in."""
    found = shared_memory(place)
    if found is None:
        yield Finding("ok", "shared memory", f"no limit of its own (no {place})")
    elif found[0] < LITTLE_SHARED:
        text = f"{size(found[0])} of {size(found[1])} free in {place}, which is little for data workers"
        yield Finding(
            "note", "shared memory", f"{text}. Set training.workers=0, or enlarge it: docker run --shm-size=8g."
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
    """Whether run folders can be written, and the room that they have."""
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
