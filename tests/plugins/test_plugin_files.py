"""A plugin file beside a config: from its first training to a stranger's run folder."""

import hashlib
import json
import multiprocessing
import pickle
import shutil

import pytest

from segkit.build import TABLES, build_dataset, build_model, load_config
from segkit.config import plugins
from segkit.config.plugins import OFFERED, require_constructor
from segkit.config.schema import PluginFile, config_values
from segkit.config.yaml import load
from segkit.errors import InputError


def forget_trust(monkeypatch, tmp_path):
    """From now on, this is another machine."""
    monkeypatch.setattr(plugins, "_trusted", set())
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "another machine"))


def test_a_run_keeps_the_plugin_and_goes_by_its_content(segkit, project, trained):
    content = (project / "unet.py").read_bytes()
    assert (trained / "plugins/unet.py").read_bytes() == content
    saved = load((trained / "config.yaml").read_text())
    assert saved["plugins"] == [{"file": "plugins/unet.py", "sha256": hashlib.sha256(content).hexdigest()}]
    assert "is finished; nothing was trained" in segkit("train", project / "my.yaml", "--run", trained)[1]
    shutil.rmtree(project)
    for command in (
        ["evaluate", trained],
        ["costs", trained, "--json"],
        ["show", trained / "config.yaml"],
        ["train", trained / "config.yaml", "--run", trained],
    ):
        assert (segkit(*command)[0], segkit(*command)[2]) == (0, ""), command


def test_an_interrupted_run_is_resumed_with_its_plugin(segkit, project, trained):
    whole = json.loads((trained / "result.json").read_text())
    for name in ("result.json", "checkpoints/step_00000004_epoch_0002.pt", "checkpoints/step_00000004_epoch_0002.json"):
        (trained / name).unlink()
    code, out, _ = segkit("train", project / "my.yaml", "--run", trained)
    assert code == 0
    assert "after step 2" in out
    again = json.loads((trained / "result.json").read_text())
    assert (again["test"], again["config_hash"]) == (whole["test"], whole["config_hash"])


def test_a_run_is_not_resumed_with_a_plugin_that_has_changed(segkit, project, trained):
    with (project / "unet.py").open("a") as file:
        file.write("# changed\n")
    code, _, errors = segkit("train", project / "my.yaml", "--run", trained)
    assert code == 2
    assert "holds a run of another config; different: plugins.unet.py" in errors


def test_a_copy_that_was_changed_in_the_run_folder_is_refused(segkit, trained):
    (trained / "plugins/unet.py").write_text("raise SystemExit('this ran')")
    code, _, errors = segkit("evaluate", trained)
    assert code == 2
    assert f"{trained / 'plugins/unet.py'} has the SHA-256" in errors


def test_code_of_a_run_from_elsewhere_runs_only_if_the_user_says_so(segkit, trained, tmp_path, monkeypatch):
    forget_trust(monkeypatch, tmp_path)
    monkeypatch.setattr(plugins, "load_plugin", lambda file: pytest.fail(f"{file} ran"))
    image = next(trained.glob("predictions/test/*.png"))
    for command in (
        ["evaluate", trained],
        ["predict", trained, image, "--out", tmp_path / "out"],
        ["costs", trained],
        ["show", trained / "config.yaml"],
        ["train", trained / "config.yaml", "--run", tmp_path / "mine"],
    ):
        code, _, errors = segkit(*command)
        assert code == 2, command
        assert errors.count("\n") == 1
        assert (
            f"{trained / 'plugins/unet.py'}, with which nothing was trained on this machine; it was not run" in errors
        )
        assert "segkit --trust-plugins" in errors
    code, out, _ = segkit("compare", trained)  # which needs no code but for the costs
    assert code == 0
    assert "Left out: costs: " in out


def test_a_user_may_trust_code_from_elsewhere(segkit, trained, tmp_path, monkeypatch):
    forget_trust(monkeypatch, tmp_path)
    assert segkit("evaluate", trained)[0] == 2
    assert segkit("--trust-plugins", "evaluate", trained)[0] == 0


def test_a_config_that_names_the_plugin_of_another_run_is_no_way_around(segkit, trained, tmp_path, monkeypatch):
    forget_trust(monkeypatch, tmp_path)
    (tmp_path / "around.yaml").write_text("base: run/config.yaml\nname: around\n")
    (tmp_path / "directly.yaml").write_text("plugins: run/plugins/unet.py\n")
    shutil.rmtree(trained / "checkpoints")
    for config in ("around.yaml", "directly.yaml"):
        code, _, errors = segkit("show", tmp_path / config)
        assert code == 2
        assert "was not run" in errors


def test_an_unknown_name_is_compared_with_those_of_plugins(segkit, project):
    code, _, errors = segkit("show", project / "my.yaml", "model.decoder=unett")
    assert code == 2
    assert "unknown decoder. Did you mean 'unet'?" in errors
    code, _, errors = segkit("show", project / "my.yaml", "model.decoder.widht=3")
    assert "unknown key of unet. Did you mean 'width'? Known keys: name, width, dropout." in errors


def test_plugins_of_bases_and_overrides_are_joined(project, tmp_path, monkeypatch):
    (project / "sub").mkdir()
    (project / "sub/other.py").write_text("class Other: ...\nENCODERS = {'other': lambda restore: None}\n")
    (project / "sub/leaf.yaml").write_text("base: ../my.yaml\nplugins: other.py\n")
    (project / "third.py").write_text("SCHEDULES = {'third': lambda optimizer, steps, per_epoch: None}\n")
    monkeypatch.chdir(project)
    config = load_config(project / "sub/leaf.yaml", ["plugins=third.py", "schedule=third"])[0]
    names = [each.file.name for each in config.plugins if isinstance(each, PluginFile)]
    assert names == ["unet.py", "other.py", "third.py"]
    assert pickle.loads(pickle.dumps(config)) == config


WRONG = {
    "import error": ("\nimport nothing_like_it\n", "my.py:2: ModuleNotFoundError: No module named 'nothing_like_it'"),
    "syntax": ("\n\nclass A(:\n", "my.py:3: invalid syntax"),
    "ends": ("raise SystemExit(3)", "my.py:1: SystemExit: 3"),
    "nothing": ("x = 3", "my.py offers no component. Expected a dict such as DECODERS"),
    "misspelt": ("DECODER = {'a': print}", "my.py offers no component. Did you mean 'DECODERS'?"),
    "no dict": ("DECODERS = ['a']", "my.py: DECODERS = ['a']: expected a dict from names to constructors"),
    "no constructor": ("DECODERS = {'a': 3}", "my.py: DECODERS['a']: 3 is not a class or function"),
    "name": ("DECODERS = {'a b': print}", "my.py: DECODERS['a b']: expected a name of letters"),
    "ours": (
        "def a(stages, num_classes): ...\nDECODERS = {'fcn8s': a}",
        "my.py: DECODERS['fcn8s']: segkit has a decoder of that name already. Choose another name.",
    ),
    "another plugin's": (
        "def a(stages, num_classes): ...\nDECODERS = {'unet': a}",
        "/unet.py has a decoder of that name already. Choose another name.",
    ),
    "positional option": (
        "def a(stages, num_classes, width: int = 3): ...\nDECODERS = {'a': a}",
        "my.py: DECODERS['a']: a takes (stages, num_classes, width) before its options; "
        "a decoder is expected to take (stages, num_classes, *, option: type = default, ...)",
    ),
    "hidden options": (
        "def a(class_weights, **options): ...\nLOSSES = {'a': a}",
        "my.py: LOSSES['a']: a takes **options, which hides its options; a loss function is expected to take",
    ),
    "untyped option": (
        "def a(*, x=1): ...\nCLASS_WEIGHTS = {'a': a}",
        "CLASS_WEIGHTS['a']: a's option 'x' has no type",
    ),
    "option of no config": (
        "class Thing: ...\ndef a(split, *, x: Thing): ...\nDATASETS = {'a': a}",
        "my.py: DATASETS['a']: Unable to generate pydantic-core schema for <class",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_plugin_that_cannot_be_used_is_answered_with_a_sentence(segkit, project, case):
    text, sentence = WRONG[case]
    (project / "my.py").write_text(text)
    code, _, errors = segkit("show", project / "my.yaml", f"plugins={project}/my.py")
    assert (code, errors.count("\n")) == (2, 1)
    assert sentence in errors


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("plugins: [unett.py]", "the plugin 'unett.py' does not exist. Did you mean 'unet.py'?"),
        ("plugins: [unet]", "the plugin 'unet': expected the name of a Python file, such as my_decoder.py"),
        ("plugins: 3", "bad.yaml:1: plugins = 3: expected a Python file, or a list of them"),
        ("plugins: [unet.py, sub/unet.py]", "unet.py and sub/unet.py: two plugins have one file name. Rename one."),
    ],
)
def test_a_plugin_that_is_not_there_is_named_with_its_config(segkit, project, monkeypatch, value, sentence):
    (project / "sub").mkdir()
    (project / "sub/unet.py").write_text("")
    (project / "bad.yaml").write_text(f"{value}\nbase: my.yaml\n")
    with monkeypatch.context() as patch:
        patch.chdir(project)
        with pytest.raises(InputError) as caught:
            load_config(project.relative_to(project) / "bad.yaml")
    assert sentence in str(caught.value)


def test_a_plugin_that_changes_after_the_config_was_read_is_not_run(project):
    config = load_config(project / "my.yaml", ["plugins=null"])[0]
    (file,) = (each for each in config.plugins if isinstance(each, PluginFile))
    (project / "unet.py").write_text("raise SystemExit('this ran')")
    changed = PluginFile(file=file.file, sha256="0" * 64)
    with pytest.raises(InputError, match="has changed since the config was read"):
        plugins.load_plugin(changed)
    with pytest.raises(InputError, match="has changed since the config was read"):
        plugins.plugin_copies(config.plugin_files)


def parameters(config) -> int:
    return sum(parameter.numel() for parameter in build_model(config, 3).parameters())


def samples(dataset) -> list[str]:
    return [dataset[index].id for index in range(len(dataset))]


DATASET = """
import numpy as np
from segkit.data.dataset import Sample

class Noise:
    class_names = ("dark", "light")
    palette = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)

    def __init__(self, split: str, *, images: int = 3):
        self.split, self.images = split, images

    def __len__(self):
        return self.images

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8)
        return Sample(f"{self.split}-{index}", image, self.labels(index))

    def labels(self, index):
        return np.eye(32, dtype=np.uint8)

    def fingerprint(self):
        return f"{self.split} {self.images}"

DATASETS = {"noise": Noise}
"""


def test_processes_that_start_anew_find_the_plugin(project):
    (project / "noise.py").write_text(DATASET)
    config = load_config(project / "my.yaml", [f"plugins={project}/noise.py", "data=noise"])[0]
    dataset = build_dataset(config, "val")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(parameters, (config,)) == parameters(config)
        assert pool.apply(samples, (dataset,)) == ["val-0", "val-1", "val-2"]


def test_a_dataset_of_a_plugin_is_trained_on_by_workers(segkit, project, tmp_path):
    (project / "noise.py").write_text(DATASET)
    changes = [f"plugins={project}/noise.py", "data={name: noise, images: 4}", "training.workers=1"]
    code, out, errors = segkit("train", project / "my.yaml", *changes, "--run", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert "unet on noise" in out
    assert "noise has no files that segkit can verify" in segkit("data", "verify", project / "my.yaml", *changes)[1]


def test_a_config_without_plugins_says_nothing_of_them(project):
    config = load_config(project / "my.yaml", ["model.decoder=fcn8s"])[0]
    assert "plugins" in config_values(config)
    (project / "plain.yaml").write_text((project / "my.yaml").read_text().replace("plugins: [unet.py]", "plugins: []"))
    assert "plugins" not in config_values(load_config(project / "plain.yaml", ["model.decoder=fcn8s"])[0])


@pytest.mark.parametrize("place", OFFERED)
def test_our_own_constructors_are_such_as_are_asked_of_others(place):
    for name, constructor in TABLES[place].items():
        if place == "data" and name != "streets":
            continue  # layouts: files that segkit reads for every split
        require_constructor(constructor, place, name)
