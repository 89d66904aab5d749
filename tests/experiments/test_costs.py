"""`segkit costs`, as a user meets it, and the function behind it."""

import json
import signal
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from segkit.compare.ledger import Costs
from segkit.compare.memory import in_child
from segkit.errors import InputError
from segkit.experiments import costs as module
from segkit.experiments.costs import costs_of, read_size

STREETS = [Path(f"configs/streets/{decoder}.yaml") for decoder in ("fcn8s", "segnet")]
SMALL = ["model.encoder.width=0.0625", "data.size=[40,60]", "training.batch_size=2"]


def parsed(text: str) -> list[Costs]:
    return TypeAdapter(list[Costs]).validate_json(text)


@pytest.mark.slow
def test_every_cost_of_a_run_is_measured(segkit, finished):
    run = finished("fcn8s")
    code, out, errors = segkit("costs", run, "--measure", "--rounds", 2, "--json")
    (found,) = parsed(out)
    result = json.loads((run / "result.json").read_text())
    assert (code, errors) == (0, "")
    assert (found.name, found.size, found.parameters) == ("fcn8s", (32, 48), result["parameters"])
    assert found.file_bytes == (run / "checkpoints/best.safetensors").stat().st_size
    assert found.measured_on.endswith("images in a training step: 4")
    assert found.peak_inference_bytes > 0
    assert found.peak_training_bytes > 8 * found.parameters  # gradients, and more than one value of state each
    for spread in (found.forward_seconds, found.step_seconds):
        assert 0 < spread.low <= spread.median <= spread.high


def test_json_is_what_the_function_gives_and_nothing_is_measured_unasked(segkit):
    code, out, _ = segkit("costs", *STREETS, "--size", "64x96", "--json")
    found = costs_of(STREETS, size=(64, 96))
    assert code == 0
    assert parsed(out) == found
    assert [each.name for each in found] == ["fcn8s", "segnet"]
    assert [(each.measured_on, each.step_seconds, each.peak_training_bytes) for each in found] == [(None,) * 3] * 2


def test_configs_are_counted_without_dataset_and_without_weights(segkit):
    code, out, errors = segkit("costs", "configs/camvid/fcn8s.yaml", "configs/camvid/segnet.yaml", "--size", "90x120")
    assert (code, errors) == (0, "")
    assert "counted: one image of 90x120 pixels (height x width)" in out
    assert "measured" not in out
    assert "MACs: multiplications of convolutions and matrix products; no biases" in out


@pytest.mark.usefixtures("segkit")  # goes to the folder of the configs
def test_the_image_is_the_first_of_the_test_split_at_network_resolution():
    scales = [f"transforms.input_scale={ratio}" for ratio in (0.5, 1)]
    halved, whole = (costs_of(STREETS[1:], overrides=[*SMALL, scale])[0] for scale in scales)
    assert (halved.size, whole.size) == ((20, 30), (40, 60))
    assert halved.macs < whole.macs / 3
    assert halved.parameters == whole.parameters


@pytest.mark.usefixtures("segkit")
def test_models_of_one_decoder_are_called_by_their_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"base: {Path(STREETS[0]).resolve()}\nname: {name}\n")
    named = tmp_path / "three.yaml"
    named.write_text(f"base: {Path(STREETS[0]).resolve()}\nname: three\ntracking: {{method: mine}}\n")
    found = costs_of([tmp_path / "one.yaml", tmp_path / "two.yaml", named, STREETS[1]], size=(32, 48))
    assert [each.name for each in found] == ["one", "two", "mine", "segnet"]


def test_a_process_that_is_killed_leaves_only_its_own_value_out(segkit, monkeypatch):
    monkeypatch.setattr(module, "in_child", lambda *_: in_child(signal.raise_signal, signal.SIGKILL))
    changes = [part for change in SMALL for part in ("--set", change)]
    options = ("--size", "32x48", "--measure", "--rounds", 1, "--batch-size", 3)
    code, out, errors = segkit("costs", STREETS[1], *options, *changes)
    assert (code, errors) == (0, "")
    assert "images in a training step: 3" in out
    row = next(line.split("│") for line in out[out.index("measured:") :].splitlines() if "segnet" in line)
    _, _, inference, inference_memory, step, step_memory, _ = (cell.strip() for cell in row)
    assert (inference_memory, step_memory) == ("-", "-")
    assert float(inference.split()[0]) > 0
    assert float(step.split()[0]) > 0


@pytest.mark.parametrize("text", ["360", "360x", "0x480", "360x-1", "3.5x4", "360x480x3", "", "1000000x1"])
def test_a_size_is_height_and_width_both_positive(segkit, text, message):
    assert read_size("360x480") == (360, 480)
    code, out, errors = segkit("costs", STREETS[0], "--size", text)
    assert (code, out) == (2, "")
    message(errors, text)


def test_what_has_no_costs_is_refused(segkit, tmp_path, message):
    code, _, errors = segkit("costs", tmp_path / "nothing")
    assert code == 2
    message(errors, tmp_path / "nothing")
    code, _, errors = segkit("costs", tmp_path)
    assert (code, f"{tmp_path} is not a run folder" in errors) == (2, True)


def test_without_test_images_a_size_is_asked_for(segkit, tmp_path, message):
    code, _, errors = segkit("costs", "configs/camvid/fcn8s.yaml", "--set", f"data.root={tmp_path / 'CamVid'}")
    assert code == 2
    assert "CamVid' is not a folder" in errors
    message(errors)


@pytest.mark.usefixtures("segkit")
def test_a_batch_that_cannot_be_cut_is_refused(message):
    with pytest.raises(InputError) as caught:
        costs_of(STREETS, size=(32, 48), batch_size=3, overrides=["training.accumulation=2"])
    message(caught.value, "training.accumulation = 2", "training.batch_size", 3)
