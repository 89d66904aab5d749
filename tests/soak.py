"""Kills training runs at random moments, again and again, and looks at what is left.

    python tests/soak.py --kills 200

Runs are started by the command line, killed with SIGKILL (or --signal), started again, until each has finished; then it
must be equal, bit by bit, to the same run without a kill. Exit code 1 if a run was lost, a state was corrupt or a
result differs.
"""

import argparse
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from same_runs import differences

CONFIG = """
name: soak
seed: 3
data: {{name: streets, size: [32, 48], train_images: 24, val_images: 8, test_images: 3}}
transforms: {{scale: [0.75, 1.25], crop: [32, 48], flip: 0.5, color_jitter: 0.2}}
model: {{encoder: {{name: vgg16, width: 0.0625{encoder}}}, decoder: {decoder}}}
loss: {{function: cross_entropy, class_weights: median_frequency}}
optimizer: {optimizer}
schedule: {schedule}
training: {{epochs: 10, batch_size: 4, log_every: 1, workers: {workers}, precision: {precision}}}
checkpoints: {{every_minutes: 0.003}}
"""
FCN = {"decoder": "{name: fcn8s, head_width: 16}", "encoder": ""}
FCN |= {"optimizer": "{name: adamw, lr: 0.001}", "schedule": "one_cycle"}
SEGNET = {"decoder": "{name: segnet, dropout: 0.5}", "encoder": ", batch_norm: true"}
SEGNET |= {"optimizer": "{name: caffe_sgd, lr: 0.01, momentum: 0.9, weight_decay: 0.0005}", "schedule": "plateau"}
VARIANTS = [
    FCN | {"workers": 0, "precision": "float32"},
    SEGNET | {"workers": 0, "precision": "bfloat16"},
    FCN | {"workers": 2, "precision": "bfloat16"},
    SEGNET | {"workers": 2, "precision": "float32"},
]


class Soak:
    """Args: folder for runs, number of kills wanted, seconds within which a kill falls, signals to choose from."""

    def __init__(self, folder: Path, kills: int, window: float, signals: list[signal.Signals], seed: int):
        self.folder, self.kills, self.window, self.signals = folder, kills, window, signals
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.count: Counter[str] = Counter()
        self.faults: list[str] = []
        self.numbers = itertools.count()
        for index, variant in enumerate(VARIANTS):
            (folder / f"variant_{index}.yaml").write_text(CONFIG.format(**variant))

    def command(self, variant: int, run: Path) -> list[str]:
        """Trains a run."""
        config = self.folder / f"variant_{variant}.yaml"
        return [sys.executable, "-m", "segkit", "train", str(config), "--run", str(run)]

    def reference(self, variant: int) -> None:
        """The run that nothing disturbs."""
        subprocess.run(self.command(variant, self.folder / f"reference_{variant}"), check=True, capture_output=True)

    def work(self, _: int) -> None:
        """Runs with kills, one after the other, until there were enough of them."""
        while self.count["kills"] < self.kills:
            number = next(self.numbers)
            run = self.folder / f"run_{number}"
            while not (run / "result.json").is_file():
                self.start_and_kill(number % len(VARIANTS), run)
            found = differences(self.folder / f"reference_{number % len(VARIANTS)}", run)
            with self.lock:
                self.count["runs"] += 1
                if found:
                    self.faults.append(f"{run.name} (variant {number % len(VARIANTS)}) differs: {', '.join(found)}")
            shutil.rmtree(run)
            finished = f"{self.count['kills']} kills, {self.count['runs']} runs finished"
            print(f"{finished}, {len(self.faults)} faults", flush=True)

    def start_and_kill(self, variant: int, run: Path) -> None:
        """Starts a run, or lets it go on, and kills it at a random moment after its first line."""
        with self.lock:
            number, seconds = self.random.choice(self.signals), self.random.uniform(0, self.window)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(self.command(variant, run), text=True, **pipes)
        process.stdout.readline()
        before = self.state(run)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        _, errors = process.communicate()
        after = self.state(run)
        with self.lock:
            if process.returncode in (-number, 128 + number):
                self.count["kills"] += 1
                self.count["kills that cut off the writing of a file"] += bool(list(run.rglob(".*.partial")))
                self.count["kills before the first checkpoint"] += after < 0
            elif process.returncode:
                self.faults.append(f"{run.name} ended with {process.returncode}: {errors}")
            if "damaged" in errors:
                self.faults.append(f"{run.name}: {errors}")
            if after < before:
                self.faults.append(f"{run.name} fell from step {before} to {after}")

    def state(self, run: Path) -> int:
        """Step of the last checkpoint that is whole, -1 if there is none."""
        steps = [json.loads(path.read_text())["step"] for path in (run / "checkpoints").glob("step_*.json")]
        return max(steps, default=-1)


def main() -> int:
    """Soaks, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--window", type=float, default=4.0, help="seconds from its start in which a run is killed")
    parser.add_argument("--signals", default="KILL", help="comma-separated: KILL, TERM, INT, USR1")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signals = [getattr(signal, f"SIG{name}") for name in options.signals.split(",")]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        soak = Soak(Path(folder), options.kills, options.window, signals, options.seed)
        for step in (soak.reference, soak.work):
            list(pool.map(step, range(len(VARIANTS) if step == soak.reference else options.jobs)))
    print(f"{time.monotonic() - started:.0f} s, signals {options.signals}")
    print("\n".join(f"{count} {what}" for what, count in soak.count.items()))
    print("\n".join([f"{len(soak.faults)} faults: corrupt states, lost runs, results that differ", *soak.faults]))
    return bool(soak.faults)


if __name__ == "__main__":
    sys.exit(main())
