"""What `segkit doctor CONFIG` finds out about a config: the data, weights and services that it names are really looked
at."""

import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_doctor import found

from segkit.data import faults
from segkit.data.faults import data_error
from segkit.diagnostics import rehearsal
from segkit.diagnostics.doctor import Finding

CAMVID = ["model.encoder.weights=null", "model.encoder.width=0.0625", "training.batch_size=4", "transforms.crop=null"]


pytestmark = pytest.mark.usefixtures("no_wandb_settings")


@pytest.fixture
def look(segkit, tmp_path):
    """Findings about a config."""

    def run(config, *settings):
        return found(segkit("doctor", f"configs/{config}.yaml", *settings, "--runs", tmp_path / "runs", "--json"))

    return run


def problems(topics) -> dict[str, str]:
    found = [each for findings in topics.values() for each in findings if each["level"] == "problem"]
    return {each["topic"]: each["text"] for each in found}


def test_every_split_of_the_data_is_looked_at(look, tiny_camvid):
    (tiny_camvid / "test" / "test_0.png").write_bytes(b"no picture")
    topics = look("camvid/fcn8s", f"data.root={tiny_camvid}", *CAMVID, "--no-step")
    assert topics["data train"][0]["text"] == f"7 images in {tiny_camvid}, the first is 12x16 (height x width)"
    assert topics["data val"][0]["text"] == f"3 images in {tiny_camvid}, the first is 12x16 (height x width)"
    assert problems(topics) == {"data test": str(data_error(faults.NO_IMAGE, tiny_camvid / "test" / "test_0.png"))}


def test_a_missing_root_is_named_for_every_split(look, tmp_path):
    told = problems(look("camvid/fcn8s", f"data.root={tmp_path}/none", *CAMVID))
    assert told["data train"].startswith(f"data.root = '{tmp_path}/none' is not a folder; expected CamVid with ")
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
    single = ["data.size=[32,32]", "transforms.input_scale=0.5", "training.batch_size=1"]
    for settings, start in ((single, "batch norm cannot"), (["training.batch_size=9"], "training.batch_size = 9: ")):
        assert problems(look("streets/segnet", *tiny, *settings))["training step"].startswith(start)


def test_workers_are_told_what_they_need(look, tiny):
    topics = look("streets/fcn8s", *tiny, "training.workers=1000", "transforms.crop=[20000,20000]", "--no-step")
    first, second = topics["workers"]
    assert (first["level"], second["level"]) == ("note", "problem")
    assert first["text"].startswith("training.workers = 1000 are more than the ")
    needed = 1000 * 2 * 4 * 20000**2 * (3 * 4 + 8)  # workers, batches ahead, images, pixels, bytes of image and labels
    assert second["text"].startswith(f"1000 of them need about {needed / 1e9:.1f} GB of shared memory, ")


KEY = "0123456789abcdef" * 3
WITHOUT = "the run would train without it"


@pytest.mark.parametrize(
    ("wandb", "environment", "level", "text"),
    [
        ("disabled", {}, "ok", "tracking.wandb = disabled; no login for https://api.wandb.ai"),
        ("offline", {}, "ok", "tracking.wandb = offline; no login for https://api.wandb.ai"),
        ("online", {"WANDB_MODE": "offline"}, "ok", "WANDB_MODE = offline; no login for https://api.wandb.ai"),
        ("online", {"WANDB_MODE": "disabled"}, "ok", "WANDB_MODE = disabled; no login for https://api.wandb.ai"),
        ("online", {"WANDB_API_KEY": KEY}, "ok",
         "tracking.wandb = online; a key in WANDB_API_KEY for https://api.wandb.ai"),
        ("online", {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "note",
         f"tracking.wandb = online, but no login for http://127.0.0.1:9: {WITHOUT}. 'wandb login', or set WANDB_API_KEY"),
        ("online", {"WANDB_MODE": "shared"}, "note",
         f"WANDB_MODE = shared; expected online, offline or disabled: {WITHOUT}"),
    ],
)  # fmt: skip
def test_who_else_would_be_told_is_said_without_asking_anybody(monkeypatch, wandb, environment, level, text):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert list(rehearsal._wandb(wandb)) == [Finding(level, "W&B", text)]


def test_a_missing_package_of_w_and_b_is_a_note(look, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (told,) = look("streets/fcn8s", *tiny, "tracking.wandb=offline", "--no-step")["W&B"]
    assert told["level"] == "note"
    assert told["text"].startswith("tracking.wandb = offline, but wandb is not installed: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_is_a_problem(look, tiny):
    told = problems(look("streets/fcn8s", *tiny, "training.device=cuda"))
    assert told.keys() == {"device"}
    assert told["device"].startswith("training.device = 'cuda': torch finds none on this machine; it has ")


def test_a_login_in_a_file_is_found_and_a_broken_file_holds_none(tmp_path):
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    text = f"tracking.wandb = online; a key in {tmp_path}/netrc for https://api.wandb.ai"
    assert list(rehearsal._wandb("online")) == [Finding("ok", "W&B", text)]
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai nonsense {KEY}\n")
    (told,) = rehearsal._wandb("online")
    assert told.level == "note"
    assert told.text.startswith("tracking.wandb = online, but no login for https://api.wandb.ai: ")
