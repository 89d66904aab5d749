"""Experiment files: members from axes and stages, each with its config, and what may be trained."""

import shutil
from pathlib import Path

import pytest

from segkit.build import load_config
from segkit.config.schema import config_values
from segkit.errors import InputError
from segkit.experiments.experiment import chains, prepare, read_experiment, select

ROOT = Path(__file__).parents[2]
STAGES = ("fcn32s", "fcn16s", "fcn8s")


@pytest.fixture
def write(tiny_config, tmp_path):
    """Writes an experiment file over base.yaml and one config for each stage; its path."""
    (tmp_path / "base.yaml").write_text(f"name: base{tiny_config}")
    for name in STAGES:
        (tmp_path / f"{name}.yaml").write_text(
            f"base: base.yaml\nname: {name}\nmodel: {{decoder: {{name: {name}, head_width: 16}}}}\n"
        )

    def written(text: str, name: str = "name: trial\n") -> Path:
        (tmp_path / "experiment.yaml").write_text(name + text)
        return tmp_path / "experiment.yaml"

    return written


def test_there_is_a_member_for_each_combination_of_values(write):
    text = "base: base.yaml\naxes: {decoder: [fcn32s, segnet], seed: [3, 5], optimizer.lr: [0.1]}\n"
    members = read_experiment(write(text))
    names = [f"{decoder}-seed{seed}-lr0.1" for decoder in ("fcn32s", "segnet") for seed in (3, 5)]
    assert [member.name for member in members] == names
    last = members[-1]
    assert (last.config.model.decoder.name, last.config.seed, last.config.optimizer.options["lr"]) == ("segnet", 5, 0.1)
    assert last.choices == {"decoder": "segnet", "seed": "5", "optimizer.lr": "0.1"}
    assert last.config.name == "trial-segnet-seed5-lr0.1"
    assert (last.config.tracking.group, last.config.tracking.method) == ("trial", "segnet-lr0.1")
    assert last.run.path == Path("runs/trial/segnet-seed5-lr0.1")


@pytest.mark.parametrize(
    "axis",
    [
        "loss: [cross_entropy, dice]",
        "loss.function: [cross_entropy, dice]",
        "loss: {cross_entropy: {loss.function: cross_entropy}, dice: {loss.function.name: dice}}",
    ],
)
def test_losses_are_an_axis(write, axis):
    ce, dice = read_experiment(write(f"base: base.yaml\naxes:\n  {axis}\n"))
    assert [member.config.loss.function.name for member in (ce, dice)] == ["cross_entropy", "dice"]
    assert [member.config.tracking.method for member in (ce, dice)] == ["cross_entropy", "dice"]


def test_terms_of_a_weighted_sum_are_an_axis(write):
    text = "base: base.yaml\nset: {loss.function: {name: weighted_sum}, loss.function.terms: {cross_entropy: 1.0}}\n"
    members = read_experiment(write(f"{text}axes: {{loss.function.terms.dice: [0.5, 1.0]}}\n"))
    assert [member.name for member in members] == ["dice0.5", "dice1.0"]
    assert [member.config.loss.function.options["terms"]["dice"]["weight"] for member in members] == [0.5, 1.0]


def test_the_later_layer_wins_files_before_set_before_values_before_the_command_line(write):
    text = "base: base.yaml\nset: {training: {epochs: 7}, optimizer: {lr: 0.5, weight_decay: 0.25}}\n"
    text += "axes: {decoder: {a: fcn8s.yaml, b: {optimizer: {lr: 0.125}}}}\n"
    a, b = (member.config for member in read_experiment(write(text), ["optimizer.weight_decay=0.0625"]))
    assert (a.training.epochs, a.optimizer.options["lr"], a.optimizer.options["weight_decay"]) == (7, 0.5, 0.0625)
    assert (b.training.epochs, b.optimizer.options["lr"], b.optimizer.options["weight_decay"]) == (7, 0.125, 0.0625)


def test_one_decoder_under_two_names_makes_two_members_of_equal_config(write):
    a, b = read_experiment(write("base: base.yaml\naxes: {decoder: {one: {seed: 1}, other: {seed: 1}}}\n"))
    one, other = (config_values(member.config) for member in (a, b))
    assert one.pop("name") != other.pop("name")
    assert one.pop("tracking") != other.pop("tracking")
    assert one == other


def test_stages_follow_one_another_within_each_combination(write):
    text = "axes: {seed: [0, 1]}\nstages:\n" + "".join(f"  {name}: {name}.yaml\n" for name in STAGES)
    members = read_experiment(write(text))
    assert [[member.name for member in chain] for chain in chains(members)] == [
        [f"seed{seed}-{stage}" for stage in STAGES] for seed in (0, 1)
    ]
    starts = [member.config.model.initialize_from for member in members]
    folders = [[None, f"runs/trial/seed{seed}-fcn32s", f"runs/trial/seed{seed}-fcn16s"] for seed in (0, 1)]
    assert starts == [path and Path(path) for chain in folders for path in chain]


def test_members_are_selected_by_their_labels(write):
    members = read_experiment(write("base: base.yaml\naxes: {decoder: [fcn32s, fcn16s, segnet], seed: [0, 1]}\n"))
    found = select(members, ["decoder=fcn32s,segnet", "seed=1"])
    assert [member.name for member in found] == ["fcn32s-seed1", "segnet-seed1"]
    for condition, message in {
        "decodr=fcn32s": "Did you mean 'decoder'? Axes: decoder, seed.",
        "decoder": "expected AXIS=VALUE, such as decoder=fcn32s.",
        "decoder=fcn32": "decoder has no 'fcn32'. Did you mean 'fcn32s'? It has fcn32s, fcn16s, segnet.",
        "seed=7": "seed has no '7'. It has 0, 1.",
    }.items():
        with pytest.raises(InputError) as error:
            select(members, [condition])
        assert message in str(error.value)


def test_a_stage_that_started_from_weights_that_are_gone_is_refused_and_overwriting_starts_all_again(
    segkit, write, tmp_path, message
):
    file = write("stages:\n" + "".join(f"  {name}: {name}.yaml\n" for name in STAGES))
    command = ("experiment", "member", file, "--runs", tmp_path / "a b: #1")
    assert segkit(*command)[0] == 0
    run = tmp_path / "a b: #1" / "trial"
    shutil.rmtree(run / "fcn16s")
    code, _, errors = segkit(*command)
    assert code == 2
    message(errors, run / "fcn8s", run / "fcn16s")
    shutil.rmtree(run / "fcn8s")
    last = select(read_experiment(file, runs=tmp_path / "a b: #1"), ["stage=fcn8s"])
    with pytest.raises(InputError) as caught:
        prepare(last)
    message(caught.value, "fcn8s", "fcn16s")

    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    elsewhere = f"data={{name: camvid, root: {tmp_path / 'nowhere'}}}"
    code, _, errors = segkit("experiment", "run", file, elsewhere, *command[-2:], "--overwrite")
    assert code == 2
    assert "is not a folder" in errors
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    with pytest.raises(InputError) as caught:  # and nothing is deleted
        prepare(last, overwrite=True)
    message(caught.value, "fcn8s", "fcn16s")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    prepare(read_experiment(file, runs=tmp_path / "a b: #1"), overwrite=True)
    assert not (run / "fcn32s/result.json").exists()


def test_a_stage_notices_that_the_one_before_was_trained_anew_or_otherwise(segkit, write, tmp_path, message):
    file = write("stages: {coarse: fcn32s.yaml, fine: fcn16s.yaml}\n")
    runs, command = tmp_path / "runs", ("experiment", "member", file, "--runs", tmp_path / "runs")
    assert segkit(*command)[0] == 0
    prepare(read_experiment(file, runs=runs))
    shutil.copytree(runs, tmp_path / "moved")
    prepare(read_experiment(file, runs=tmp_path / "moved"))  # the same weights elsewhere
    with pytest.raises(InputError, match="log_every"):
        prepare(select(read_experiment(file, ["training.log_every=7"], runs=runs), ["stage=fine"]))
    assert segkit(*command, "stage=coarse")[1].count("is finished") == 1
    listed = segkit("experiment", "run", file, "--only", "stage=fine", "--list", "--runs", runs)
    assert (listed[0], listed[2], "equal in" in listed[1]) == (0, "", False)  # nothing to be compared with
    weights = runs / "trial/coarse/checkpoints/best.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(InputError) as caught:
        prepare(read_experiment(file, runs=runs))
    message(caught.value, "fine", tmp_path / "runs/trial/coarse")


def test_the_stages_of_one_member_are_trained_one_after_the_other_by_hand(segkit, write, tmp_path, message):
    file = write("axes: {seed: [0, 1]}\nstages:\n" + "".join(f"  {name}: {name}.yaml\n" for name in STAGES[:2]))
    options = ("--runs", tmp_path / "runs", "--set", "training.epochs=3")
    code, out, errors = segkit("experiment", "member", file, "seed=1", *options)
    assert (code, errors) == (0, "")
    started = [line.split(":")[0] for line in out.splitlines() if "run folder" in line]
    assert started == ["trial-seed1-fcn32s", "trial-seed1-fcn16s"]
    stored = load_config(tmp_path / "runs/trial/seed1-fcn16s/config.yaml")[0]
    assert (stored.seed, stored.training.epochs) == (1, 3)
    assert stored.model.initialize_from == tmp_path / "runs/trial/seed1-fcn32s"
    code, _, errors = segkit("experiment", "member", file, "--runs", tmp_path / "runs")
    assert code == 2
    message(errors, "4 members")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "axes nor stages"),
        ("axes: {seed: [0]}\nseeds: [1]\n", "'seeds'"),
        ("stages: fcn32s.yaml\n", "stages"),
        ("stages: {}\n", "stages"),
        ("stages: {a: nowhere.yaml}\n", "nowhere.yaml"),
        ("stages: {a: [1, 2]}\n", "stages.a = [1, 2]"),
        ("stages: {a/b: fcn32s.yaml}\n", "'a/b'"),
        ("axes: [1]\n", "axes = [1]"),
        ("axes: {seed: 3}\n", "experiment.yaml:2: axes.seed = 3"),
        ("axes: {seed: []}\n", "axes.seed = []"),
        ("axes: {decoder: [{name: fcn8s}]}\n", "axes.decoder"),
        ("axes: {a=b: [1]}\n", "axes.a=b"),
        ("axes: {stage: [1]}\n", "axes.stage"),
        ("base: [1]\naxes: {seed: [0]}\n", "base = [1]"),
        ("base: base.yaml\nset: 3\naxes: {seed: [0]}\n", "set = 3"),
        ("base: base.yaml\naxes: {seed: [0, 0]}\n", "axes.seed = [0, 0]"),
        ("base: base.yaml\naxes: {seed: [0, x]}\n", "seed = 'x'"),
        ("base: base.yaml\naxes: {decoder: [fcn9s]}\n", "model.decoder.name = 'fcn9s'"),
        ("base: base.yaml\naxes: {decoder: {a: {model: {decoder: {head_padding: none}}}}}\n", "model.decoder"),
    ],
    ids=[
        "empty", "key", "stages text", "no stages", "no file", "stage list", "stage folder", "axes list", "axis number",
        "empty axis", "axis mapping", "axis name", "axis stage", "base list", "set number", "value twice", "value",
        "component", "option",
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named_before_anything_is_trained(segkit, write, tmp_path, message, text, named):
    code, out, errors = segkit("experiment", "run", write(text), "--runs", tmp_path / "runs")
    assert (code, out) == (2, "")
    message(errors, named)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["", "name: ../up\n", "name: [a]\n", "name: 3\n"])
def test_the_name_of_an_experiment_names_a_folder(write, name, message):
    with pytest.raises(InputError) as caught:
        read_experiment(write("axes: {seed: [0]}\n", name))
    message(caught.value)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed=3", "seed"), ("model.decoder=segnet", "model.decoder"), ("model.decoder.name=segnet", "model.decoder"),
        ("model={decoder: segnet}", "model.decoder"), ("optimizer.lr=1", "optimizer.lr"), ("name=x", "name"),
        ("tracking.group=x", "tracking.group"),
    ],
)  # fmt: skip
def test_what_an_axis_sets_cannot_be_set_for_all(write, override, key, message):
    axes = "{decoder: [fcn8s], seed: [0], rate: {low: {optimizer: {lr: 0.1}}, high: {optimizer: {lr: 0.2}}}}"
    with pytest.raises(InputError) as caught:
        read_experiment(write(f"base: base.yaml\naxes: {axes}\n"), [override])
    message(caught.value, override, key)


@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/*/experiment.yaml")), ids=lambda path: path.parent.name)
def test_every_experiment_of_the_repository_is_valid(path):
    assert [member.config.model.decoder.name for member in read_experiment(path)]


def test_a_missing_file_is_named(segkit, tmp_path, message):
    code, _, errors = segkit("experiment", "run", tmp_path / "no.yaml")
    assert code == 2
    message(errors, tmp_path / "no.yaml")
