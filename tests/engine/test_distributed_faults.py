"""Several processes of which one fails: all end within a minute, each failure is told once, and the same command goes
on."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from same_runs import differences, last_checkpoint, records
from torchrun import CONFIG, ended, finish, launch, ranks, train, wait_for_step

from segkit.data.loader import Order
from segkit.tracking.run_dir import RunDir

pytestmark = pytest.mark.slow
OFTEN = "checkpoints.every_minutes=1e-6"
ELSEWHERE = "segkit: Stopped because process 1 failed"
LOST = "segkit: another process has ended or does not answer"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Finished runs that nothing disturbed, by processes and settings."""
    folder = tmp_path_factory.mktemp("runs")

    def run(*settings: str, processes: int = 2) -> Path:
        path = folder / "-".join([str(processes), *settings])
        if not path.exists():
            finish(train(config, path, *settings, processes=processes))
        return path

    return run


def gone(process, pids):
    """Whether torchrun and its processes have ended."""
    return process.poll() is not None and not any(Path(f"/proc/{pid}").exists() for pid in pids)


# --- signals ---


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_to_torchrun_stops_all_and_they_go_on_to_the_same_end(whole, config, tmp_path, number, name):
    run, epochs = tmp_path / "run", "training.epochs=10"
    for _ in range(3):
        process, before = train(config, run, epochs), RunDir(run).saved_step or 0
        wait_for_step(run, before + 2)
        pids = ranks(process)
        process.send_signal(number)
        lines, _ = ended(process)
        assert gone(process, pids)
        assert process.returncode in (1, -number)  # torchrun's own
        assert lines == [
            f"segkit: {name}: stopping after this step, then saving; a second signal leaves at once.",
            f"segkit: {name}: stopped; this resumes after step {RunDir(run).saved_step}: "
            f"torchrun --standalone --nproc-per-node 2 -m -- segkit train {config} {epochs} --run {run}",
        ]
        assert before + 2 <= RunDir(run).saved_step < 30
    finish(train(config, run, epochs))
    assert differences(whole(epochs), run) == []


def test_three_processes_go_on_to_the_same_end(whole, config, tmp_path):
    run, settings = tmp_path / "run", ["training.batch_size=6"]
    process = train(config, run, *settings, processes=3)
    wait_for_step(run, 3)
    os.kill(ranks(process)[2], signal.SIGTERM)
    ended(process)
    assert RunDir(run).saved_step < 6
    finish(train(config, run, *settings, processes=3))
    assert differences(whole(*settings, processes=3), run) == []


# --- deaths ---


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_within_a_minute_and_they_go_on_to_the_same_end(
    whole, config, tmp_path, rank, workers
):
    run = tmp_path / "run"
    setting = f"training.workers={workers}"
    process = train(config, run, OFTEN, setting)
    wait_for_step(run, 5)
    pids = ranks(process)
    os.kill(pids[rank], signal.SIGKILL)
    started = time.monotonic()
    lines, codes = ended(process)
    assert time.monotonic() - started < 60
    assert gone(process, pids)
    assert codes[rank] == -9
    failures = [line for line in lines if "stopping after this step" not in line]
    assert [line.startswith(LOST) for line in failures] == [True] * rank  # process 0 alone says it
    assert RunDir(run).saved_step >= 4
    _, errors = train(config, run, OFTEN, setting).communicate(timeout=300)
    assert [each for each in differences(whole(setting), run) if each != "config.yaml"] == []  # the pace of saving
    assert not list(run.rglob(".*.partial"))


def test_killed_altogether_they_go_on_to_the_same_end(whole, config, tmp_path):
    run = tmp_path / "run"
    for step in (2, 6):
        process = train(config, run, OFTEN)
        wait_for_step(run, step)
        pids = ranks(process)
        for pid in (process.pid, *pids):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        assert RunDir(run).saved_step >= step - 1
    process = train(config, run, OFTEN)
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert [each for each in differences(whole(), run) if each != "config.yaml"] == []


# --- failures ---


@pytest.fixture
def camvid(tmp_path):
    """A config over 12, 3 and 2 images on disk, and the file of the image that process 1 wants first in step 2."""
    random = np.random.default_rng(0)
    root = tmp_path / "data"
    for split, count in {"train": 12, "val": 3, "test": 2}.items():
        for folder in (root / split, root / f"{split}annot"):
            folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(random.integers(0, 256, (32, 48, 3), np.uint8)).save(root / split / f"{index}.png")
            Image.fromarray(random.integers(0, 12, (32, 48), np.uint8)).save(root / f"{split}annot" / f"{index}.png")
        lines = [
            f"/SegNet/CamVid/{split}/{index}.png /SegNet/CamVid/{split}annot/{index}.png\n" for index in range(count)
        ]
        (root / f"{split}.txt").write_text("".join(lines))
    first = CONFIG.index("data:")
    text = f"{CONFIG[:first]}data: {{name: camvid, root: {root}}}\n{CONFIG[CONFIG.index('transforms:') :]}"
    (tmp_path / "camvid.yaml").write_text(text)
    [(_, index), _] = list(Order(12, 4, seed=3, last_step=9, rank=1, processes=2))[1]
    return tmp_path / "camvid.yaml", root / "train" / f"{index}.png"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_of_one_process_is_named_once_and_once_mended_all_go_on_to_the_same_end(camvid, tmp_path, workers):
    config, image = camvid
    finish(train(config, tmp_path / "whole", f"training.workers={workers}"))
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    run = tmp_path / "run"
    process = train(config, run, f"training.workers={workers}")
    lines, codes = ended(process)
    elsewhere, own = sorted(lines)
    assert elsewhere.startswith(ELSEWHERE)
    assert own.startswith(f"segkit: process 1: {image}")
    assert codes == {0: 1, 1: 2}
    assert RunDir(run).saved_step == records(run)[-1]["step"] == 1
    image.write_bytes(content)
    finish(train(config, run, f"training.workers={workers}"))
    assert differences(tmp_path / "whole", run) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["training.batch_size=3"],
            "training.batch_size = 3: 2 processes with training.accumulation = 1 expect a multiple",
        ),
        (["training.accumulation=4"], "training.accumulation = 4 expect a multiple of 8. Set training.batch_size=8."),
        (["training.batch=8"], "training.batch = 8 (command line): unknown key. Did you mean 'batch_size'?"),
        (["model.initialize_from=nowhere.pt"], "weights nowhere.pt do not exist"),
    ],
)
def test_what_is_wrong_for_all_is_said_once_and_nothing_is_written(config, tmp_path, settings, message):
    process = train(config, tmp_path / "run", *settings)
    _, errors = process.communicate(timeout=60)
    assert errors.count(message) == errors.count("segkit: ") == 1
    assert not (tmp_path / "run").exists()


def test_a_diverging_run_ends_with_one_message(config, tmp_path):
    lines, codes = ended(train(config, tmp_path / "run", "optimizer.lr=1e30"))
    [line] = lines
    assert line.startswith("segkit: training stopped: step 2: ")
    assert codes == {0: 1, 1: 1}


def test_two_commands_in_one_folder_do_not_mix(config, tmp_path):
    run = tmp_path / "run"
    first = train(config, run, "training.epochs=1000")
    wait_for_step(run, 1)
    lines, codes = ended(train(config, run, "training.epochs=1000"))
    [line] = lines
    assert line.startswith(f"segkit: {run} is in use by process {ranks(first)[0]} on ")
    assert codes[0] == 2
    first.send_signal(signal.SIGTERM)
    ended(first)


@pytest.mark.parametrize("fault", ["raise", "hang"])
def test_a_fault_of_one_process_ends_all_within_a_minute(config, tmp_path, fault):
    run, script = tmp_path / "run", Path(__file__).with_name("segkit_by_torchrun.py")
    process = launch("--", script, fault, "train", config, "--run", run, cache=tmp_path / "cache")
    wait_for_step(run, 4)
    pids, started = ranks(process), time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - started < 60
    assert gone(process, pids)
    assert process.returncode == 1
    assert errors.count(LOST) == 1, errors
    assert errors.count("[rank1]: ValueError: a fault of the program\n") == (fault == "raise")
    assert RunDir(run).saved_step == 3
    assert last_checkpoint(run).is_file()
