"""What tests of several rooms share: a made-up CamVid, the real one, the command line, and caches that stay out of the
home folder."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden import SEEN, message, record  # noqa: F401
from hypothesis import HealthCheck, settings
from PIL import Image
from wandb_runs import no_wandb_settings, pair, session  # noqa: F401

from segkit.cli.app import main

REPOSITORY = Path(__file__).parents[1]

settings.register_profile("segkit", deadline=None, derandomize=True, max_examples=25)
# for hours, by hand: pytest --hypothesis-profile=search
settings.register_profile("search", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("segkit")


def pytest_addoption(parser):
    parser.addoption("--record-messages", action="store_true", help="write tests/messages.json anew for the tests run")


def pytest_configure(config):
    """Prepare to record messages, and restore Ctrl-C.

    Where the tests run in the background of a shell, Ctrl-C is ignored, and would be in every process that they start.
    """
    if config.getoption("--record-messages"):
        if config.getoption("numprocesses", None):
            raise pytest.UsageError("--record-messages writes one file from one process: leave -n out")
        config.stash[SEEN] = {}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session):  # noqa: F811
    if SEEN in session.config.stash:
        record(session.config.stash[SEEN])


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """Where this test's class counts go; it does not exist yet."""
    folder = tmp_path / "segkit-cache"
    monkeypatch.setenv("SEGKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def tiny_camvid(tmp_path):
    """CamVid's layout with 7, 3 and 4 images of 12x16 pixels; labels hold ids 0..10 and 11 (void)."""
    root, rng = tmp_path / "tiny" / "CamVid", np.random.default_rng(0)
    for split, count in {"train": 7, "val": 3, "test": 4}.items():
        images, labels = root / split, root / f"{split}annot"
        images.mkdir(parents=True)
        labels.mkdir()
        names = [f"{split}_{index}.png" for index in range(count)]
        for name in names:
            Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).save(images / name)
            Image.fromarray(rng.integers(0, 12, (12, 16), np.uint8)).save(labels / name)
        lines = [f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n" for name in names]
        (root / f"{split}.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def real_camvid():
    """The folder of the real CamVid."""
    folders = [REPOSITORY / "data" / "CamVid", REPOSITORY.parent / "shared" / "data" / "CamVid"]
    places = [os.environ.get("SEGKIT_CAMVID"), *folders]
    found = [Path(place) for place in places if place and (Path(place) / "train.txt").is_file()]
    if not found:
        pytest.skip("CamVid is not here: set SEGKIT_CAMVID, or put it into data/CamVid")
    return found[0]


@pytest.fixture
def read_only(tmp_path):
    """A folder in which nothing can be made."""
    folder = tmp_path / "read only"
    folder.mkdir(mode=0o555)
    for each in (folder, Path("/sys")):  # root may write anywhere but there
        try:
            (each / "probe").mkdir()
        except OSError:
            return each
    pytest.skip("this user may write anywhere")


@pytest.fixture
def little_shared_memory():
    """The start of a command that runs with 64 kB of shared memory, in a mount namespace of its own."""
    begin = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"', "sh"]
    try:
        subprocess.run([*begin, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small /dev/shm cannot be made here: {error}")
    return begin


@pytest.fixture
def segkit(monkeypatch, capsys, tmp_path):
    """Runs `segkit ARGUMENTS` in this process from the repository's root: (exit code, output, errors)."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["segkit", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def tiny():
    """Settings with which a config of Streets is trained within seconds."""
    return [
        "data.size=[32,48]", "data.train_images=8", "data.val_images=3", "data.test_images=4", "training.epochs=2",
        "model.encoder.width=0.0625", "training.batch_size=4", "evaluation.every_epochs=1",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def tiny_config():
    """Text of a config that is trained within a second, but for a name."""
    return """
data: {name: streets, size: [32, 48], train_images: 8, val_images: 3, test_images: 4}
model: {encoder: {name: vgg16, width: 0.0625}, decoder: {name: fcn8s, head_width: 16}}
loss: {function: cross_entropy, class_weights: none}
optimizer: {name: adamw, lr: 0.001}
schedule: constant
training: {epochs: 2, batch_size: 4}
"""


@pytest.fixture
def finished(segkit, tiny, tmp_path):
    """A finished tiny run of each decoder that is asked for."""

    def train(decoder: str) -> Path:
        code, _, errors = segkit("train", f"configs/streets/{decoder}.yaml", *tiny, "--run", tmp_path / decoder)
        assert (code, errors) == (0, "")
        return tmp_path / decoder

    return train


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny):
    """Folders of three runs, without weights, which no comparison needs: fcn32s with seeds 0 and 1, fcn8s with 0."""
    from segkit.build import load_config
    from segkit.runs.train import train_run
    from segkit.tracking.run_dir import RunDir

    folder, found = tmp_path_factory.mktemp("trained"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(folder / "cache"))
        for decoder, seed in (("fcn32s", 0), ("fcn32s", 1), ("fcn8s", 0)):
            changes = [*tiny, "data.test_images=6", f"seed={seed}"]
            config, _ = load_config(REPOSITORY / f"configs/streets/{decoder}.yaml", changes)
            found.append(folder / f"{decoder}_{seed}")
            train_run(config, RunDir(found[-1]))
            shutil.rmtree(found[-1] / "checkpoints")
    return found


@pytest.fixture
def copies(trained, tmp_path):
    """The same runs, to be damaged."""
    return [shutil.copytree(path, tmp_path / "copies" / path.name) for path in trained]
