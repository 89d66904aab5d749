"""What `segkit doctor CONFIG` finds out about a config: the data, weights and services that it names are really looked
at."""

import os
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_doctor import found

from segkit.data import faults
from segkit.data.faults import data_error

CAMVID = ["model.encoder.weights=null", "model.encoder.width=0.0625", "training.batch_size=4", "transforms.crop=null"]


@pytest.fixture(autouse=True)
def no_wandb_settings(monkeypatch, tmp_path):
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def look(segkit, tmp_path):
    """Findings about a config."""

    def run(config, *settings):
        return found(segkit("doctor", f"configs/{config}.yaml", *settings, "--runs", tmp_path / "runs", "--json"))

    return run


def problems(topics) -> dict[str, str]:
    return {
        topic: each["text"] for topic, findings in topics.items() for each in findings if each["level"] == "problem"
    }


def test_every_split_of_the_data_is_looked_at(look, tiny_camvid):
    (tiny_camvid / "test" / "test_0.png").write_bytes(b"no picture")
    topics = look("camvid/fcn8s", f"data.root={tiny_camvid}", *CAMVID, "--no-step")
    assert topics["data train"][0]["text"] == f"7 images in {tiny_camvid}, the first is 12x16 (height x width)"
    assert topics["data val"][0]["text"] == f"3 images in {tiny_camvid}, the first is 12x16 (height x width)"
    assert problems(topics) == {"data test": str(data_error(faults.NO_IMAGE, tiny_camvid / "test" / "test_0.png"))}


def test_a_missing_root_is_named_for_every_split(look, tmp_path):
    told = problems(look("camvid/fcn8s", f"data.root={tmp_path}/none", *CAMVID))
    sentence = (
        f"data.root = '{tmp_path}/none' is not a folder; expected CamVid with train.txt and train/. Set data.root=PATH."
    )
    assert told["data train"] == sentence
    assert told.keys() == {"data train", "data val", "data test"}


def test_weights_that_are_not_there_are_a_problem(look, tiny, tmp_path):
    weights = tmp_path / "none.safetensors"
    assert problems(look("streets/fcn8s", *tiny, f"model.encoder.weights={weights}")) == {
        "model": f"weights {weights} do not exist; expected a .safetensors, .pt or .pth file. Fetch them or set null."
    }


def test_a_wrong_config_is_a_problem(look):
    told = problems(look("streets/fcn8s", "training.epohs=3"))
    assert "training.epohs = 3 (command line): unknown key. Did you mean 'epochs'?" in told["config"]


def test_a_first_step_that_fails_is_a_problem(look, tiny, finished, tmp_path):
    weights = load_file(finished("segnet") / "checkpoints/best.safetensors")
    name = next(name for name in weights if name.startswith("encoder.") and name.endswith(".weight"))
    save_file({**weights, name: torch.full_like(weights[name], torch.inf)}, tmp_path / "broken.safetensors")
    broken = ["loss.class_weights=none", f"model.initialize_from={tmp_path}/broken.safetensors"]
    told = problems(look("streets/segnet", *tiny, *broken))
    assert told.keys() == {"training step"}
    assert told["training step"].startswith("training stopped: step 1: encoder.")
    told = problems(
        look("streets/segnet", *tiny, "data.size=[32,32]", "transforms.input_scale=0.5", "training.batch_size=1")
    )
    assert told["training step"].startswith("batch norm cannot train on one value per channel ")
    assert problems(look("streets/segnet", *tiny, "training.batch_size=9"))["training step"].startswith(
        "training.batch_size = 9: the "
    )


def test_workers_are_told_what_they_need(look, tiny):
    topics = look("streets/fcn8s", *tiny, "training.workers=1000", "transforms.crop=[20000,20000]", "--no-step")
    first, second = topics["workers"]
    assert (first["level"], second["level"]) == ("note", "problem")
    assert first["text"].startswith("training.workers = 1000 are more than the ")
    needed = (
        1000 * 2 * 4 * 20000 * 20000 * (3 * 4 + 8)
    )  # workers, batches ahead, images, pixels, bytes of image and labels
    assert second["text"].startswith(f"1000 of them need about {needed / 1e9:.1f} GB of shared memory, ")


KEY = "0123456789abcdef" * 3


@pytest.mark.parametrize(
    ("settings", "environment", "level", "text"),
    [
        ([], {}, "ok", "tracking.wandb = disabled; no login for https://api.wandb.ai"),
        (
            [],
            {"WANDB_API_KEY": KEY},
            "ok",
            "tracking.wandb = disabled; a key in WANDB_API_KEY for https://api.wandb.ai",
        ),
        (["tracking.wandb=offline"], {}, "ok", "tracking.wandb = offline; no login for https://api.wandb.ai"),
        (
            ["tracking.wandb=online"],
            {"WANDB_MODE": "offline"},
            "ok",
            "WANDB_MODE = offline; no login for https://api.wandb.ai",
        ),
        (
            ["tracking.wandb=online"],
            {"WANDB_API_KEY": KEY},
            "ok",
            "tracking.wandb = online; a key in WANDB_API_KEY for https://api.wandb.ai",
        ),
        (
            ["tracking.wandb=online"],
            {"WANDB_BASE_URL": "http://127.0.0.1:9"},
            "note",
            "tracking.wandb = online, but no login for http://127.0.0.1:9: the run would train without it. "
            "'wandb login', or set WANDB_API_KEY",
        ),
        (
            ["tracking.wandb=online"],
            {"WANDB_MODE": "disabled"},
            "ok",
            "WANDB_MODE = disabled; no login for https://api.wandb.ai",
        ),
        (
            ["tracking.wandb=online"],
            {"WANDB_MODE": "shared"},
            "note",
            "WANDB_MODE = shared; expected online, offline or disabled: the run would train without it",
        ),
    ],
)
def test_who_else_would_be_told_is_said_without_asking_anybody(
    look, tiny, monkeypatch, settings, environment, level, text
):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    topics = look("streets/fcn8s", *tiny, *settings, "--no-step")
    assert topics["W&B"] == [{"level": level, "topic": "W&B", "text": text}]
    assert KEY not in str(topics)


def test_a_missing_package_of_w_and_b_is_a_note(look, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (told,) = look("streets/fcn8s", *tiny, "tracking.wandb=offline", "--no-step")["W&B"]
    assert (told["level"], told["text"].split(":")[0]) == (
        "note",
        "tracking.wandb = offline, but wandb is not installed",
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_is_a_problem(look, tiny):
    told = problems(look("streets/fcn8s", *tiny, "training.device=cuda"))
    assert told.keys() == {"device"}
    assert told["device"].startswith("training.device = 'cuda': torch finds none on this machine; it has ")


def test_a_login_in_a_file_is_found_and_a_broken_file_holds_none(look, tiny, tmp_path):
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    (told,) = look("streets/fcn8s", *tiny, "tracking.wandb=online", "--no-step")["W&B"]
    assert (told["level"], told["text"]) == (
        "ok",
        f"tracking.wandb = online; a key in {tmp_path}/netrc for https://api.wandb.ai",
    )
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai nonsense {KEY}\n")
    (told,) = look("streets/fcn8s", *tiny, "tracking.wandb=online", "--no-step")["W&B"]
    assert told["level"] == "note"
    assert told["text"].startswith("tracking.wandb = online, but no login for https://api.wandb.ai: ")
