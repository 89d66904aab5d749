"""segkit in several processes, as torchrun starts them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from segkit.tracking.run_dir import RunDir

ROOT = Path(__file__).parents[1]
CONFIG = """
name: shared
seed: 3
data: {name: streets, size: [32, 48], train_images: 12, val_images: 5, test_images: 3}
transforms: {scale: [0.75, 1.25], crop: [32, 48], flip: 0.5, color_jitter: 0.2}
model: {encoder: {name: vgg16, width: 0.0625, batch_norm: true}, decoder: {name: segnet, dropout: 0.5}}
loss: {function: cross_entropy, class_weights: median_frequency}
optimizer: {name: adamw, lr: 0.001}
schedule: plateau
training: {epochs: 3, batch_size: 4, log_every: 1, precision: float32}
"""


def launch(*arguments: object, cache: Path, processes: int = 2) -> subprocess.Popen:
    """torchrun with `processes` processes of `-- SCRIPT` or of `-m -- segkit`, and arguments."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += map(str, arguments)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SEGKIT_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)  # with it, lines of several processes run into one another
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def train(config: Path, run: Path, *settings: str, processes: int = 2) -> subprocess.Popen:
    """`segkit train` by torchrun."""
    command = ("-m", "--", "segkit", "train", config, *settings, "--run", run)
    return launch(*command, cache=run.parent / "cache", processes=processes)


def wait_for_step(run: Path, step: int) -> None:
    """Waits until metrics.jsonl holds a step."""
    deadline = time.monotonic() + 120
    while not any(record["step"] >= step for record in RunDir(run).records()) and time.monotonic() < deadline:
        time.sleep(0.02)


def ranks(torchrun: subprocess.Popen) -> list[int]:
    """Process ids, in order of rank."""
    found = {}
    for child in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_text().split("\0")
        found[next(entry for entry in environment if entry.startswith("RANK="))] = int(child)
    return [found[name] for name in sorted(found)]


def ended(torchrun: subprocess.Popen) -> tuple[list[str], dict[int, int]]:
    """What segkit said on standard error, and the exit code of each rank that failed; torchrun ends within a minute."""
    _, errors = torchrun.communicate(timeout=60)
    codes = {int(rank): int(code) for rank, code in re.findall(r"rank +: (\d+) .*\n +exitcode +: (-?\d+)", errors)}
    return [line for line in errors.splitlines() if line.startswith("segkit: ")], codes


def finish(torchrun: subprocess.Popen) -> str:
    """Standard output of what ends well and says nothing on standard error."""
    out, errors = torchrun.communicate(timeout=300)
    assert (torchrun.returncode, errors) == (0, "")
    return out
