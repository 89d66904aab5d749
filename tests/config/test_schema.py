"""An experiment: what it holds, and the sentence that each mistake in a config is answered with."""

import pickle
from pathlib import Path
from typing import Literal

import pytest

from segkit.config.ranges import Count
from segkit.config.resolve import config_hash, dump, load, resolve
from segkit.config.schema import COMPONENTS, Component, config_values
from segkit.config.validate import RENAMED_KEYS, validate
from segkit.errors import InputError


class Folder:
    def __init__(
        self, split: str, *, root: Path, classes: tuple[str, ...] = ("road", "sky"), void: int | None = None
    ): ...


class FCN:
    def __init__(self, stages: int, *, width: Count = 4096, mode: Literal["fixed", "learned"] = "fixed"): ...


def unet(num_classes: int, *, encoder: str, architecture: str = "Unet", decoder_channels: Count | None = None): ...


def plain(*_: object): ...


def sgd(
    model: object, *, lr: float, momentum: float = 0, betas: tuple[float, float] = (0.9, 0.999), nesterov: bool = False
): ...


TABLES = dict.fromkeys(COMPONENTS, {"plain": plain}) | {
    "data": {"folder": Folder},
    "model.decoder": {"fcn8s": FCN, "fcn32s": FCN, "segnet": plain},
    "optimizer": {"sgd": sgd},
    "model.whole": {"plain": plain, "unet": unet},
}
BASE = """\
name: run
data: {name: folder, root: images}
model:
  encoder: plain
  decoder: {name: fcn8s, width: 64}
loss: {function: plain, class_weights: plain}
optimizer:
  name: sgd
  lr: 1e-3
schedule: plain
training: {epochs: 3}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(BASE)
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def run_config(*overrides: str, path: str = "a.yaml"):
    resolved = resolve(Path(path), overrides)
    return validate(resolved.values, resolved.sources, TABLES, config=path)


def problems(*overrides: str, path: str = "a.yaml") -> list[str]:
    with pytest.raises(InputError) as caught:
        run_config(*overrides, path=path)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{path} has {len(lines)} problem{'s' * (len(lines) != 1)}:"
    return lines


def test_an_experiment_holds_every_option_of_its_components(folder):
    found = run_config()
    assert found.optimizer == Component("sgd", {"lr": 0.001, "momentum": 0.0, "betas": (0.9, 0.999), "nesterov": False})
    assert found.data.options["root"] == Path("images")
    assert found.model.decoder.options == {"width": 64, "mode": "fixed"}
    assert found.schedule == Component("plain")


def test_a_saved_experiment_is_the_same_experiment(folder):
    first = run_config("transforms.crop=[360, 480]", "model.initialize_from=runs/a", "transforms.input_scale=1")
    values = config_values(first)
    write("saved.yaml", dump(values))
    second = run_config(path="saved.yaml")
    assert second == first
    assert config_values(second) == values == load(dump(values))
    assert config_hash(config_values(second)) == config_hash(values)


def test_a_default_and_the_same_value_written_out_have_one_hash(folder):
    written = run_config("optimizer.momentum=0", "optimizer.betas=[0.9, 0.999]", "transforms.input_scale=1")
    assert config_hash(config_values(written)) == config_hash(config_values(run_config()))


def test_an_experiment_is_picklable(folder):
    assert pickle.loads(pickle.dumps(run_config())) == run_config()


def test_nothing_of_an_experiment_can_be_changed(folder):
    found = run_config()
    for change in (
        lambda: setattr(found, "seed", 1),
        lambda: setattr(found.training, "epochs", 1),
        lambda: setattr(found.optimizer, "name", "adam"),
        lambda: found.optimizer.options.__setitem__("lr", 1),  # pyright: ignore
    ):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            change()


TRAINING_KEYS = (
    "epochs, steps, batch_size, replacement, accumulation, device, precision, deterministic, channels_last, workers, cache, "
    "gradient_clip, skip_nonfinite, log_every"
)
MISTAKES = {
    "training.epohs=3": (
        f"training.epohs = 3 (command line): unknown key. Did you mean 'epochs'? Known keys: {TRAINING_KEYS}."
    ),
    "training.crop=[2, 2]": (
        f"training.crop = [2, 2] (command line): unknown key. Did you mean 'transforms.crop'? Known keys: {TRAINING_KEYS}."
    ),
    "on=1": (
        "on = 1 (command line): unknown key. Known keys: "
        "name, seed, data, transforms, model, loss, optimizer, schedule, training, evaluation, checkpoints, tracking, plugins."
    ),
    "model.decoder.widht=3": (
        "model.decoder.widht = 3 (command line): unknown key of fcn8s. Did you mean 'width'? Known keys: name, width, mode."
    ),
    "schedule.power=1": "schedule.power = 1 (command line): unknown key of plain. Known keys: name.",
    "model.decoder=fcn9s": (
        "model.decoder.name = 'fcn9s' (command line): unknown decoder. Did you mean 'fcn8s'? Available: fcn32s, fcn8s, segnet."
    ),
    "model.decoder.name=7": (
        "model.decoder.name = 7 (command line): unknown decoder. Available: fcn32s, fcn8s, segnet."
    ),
    "model.decoder=7": (
        "model.decoder = 7 (command line): expected the name of the decoder, or its name and options. Available: fcn32s, fcn8s, segnet."
    ),
    "model.decoder=null": (
        "model.decoder = null (command line): expected the name of the decoder, or its name and options. Available: fcn32s, fcn8s, segnet."
    ),
    "training.batch_size='4'": "training.batch_size = '4' (command line): expected an integer >= 1.",
    "training.batch_size=4.0": "training.batch_size = 4.0 (command line): expected an integer >= 1.",
    "training.batch_size=true": "training.batch_size = true (command line): expected an integer >= 1.",
    "training.batch_size=0": "training.batch_size = 0 (command line): expected an integer >= 1.",
    "training.batch_size={a: 1}": "training.batch_size = {a: 1} (command line): expected an integer >= 1.",
    "training.epochs=1e2": "training.epochs = 100.0 (command line): expected an integer >= 1 or null.",
    "training.steps=4": (
        "training.steps = 4 (command line): expected either training.epochs or training.steps, not both. Write null for one of them."
    ),
    "training.epochs=null": (
        "training.epochs is missing: expected either training.epochs or training.steps. "
        "Set it in the file or on the command line: training.epochs=..."
    ),
    "training.accumulation=3": (
        "training.accumulation = 3 (command line): expected a divisor of training.batch_size, which is 4."
    ),
    "training.device=gpu": "training.device = 'gpu' (command line): expected one of auto, cpu, cuda, mps.",
    "training.cache=yes": "training.cache = 'yes' (command line): expected true or false.",
    "training.cache=1": "training.cache = 1 (command line): expected true or false.",
    "training.gradient_clip=0": "training.gradient_clip = 0 (command line): expected a number > 0 or null.",
    "training=3": f"training = 3 (command line): expected a section with the keys {TRAINING_KEYS}.",
    "training=null": f"training = null (command line): expected a section with the keys {TRAINING_KEYS}.",
    "model=vgg": "model = 'vgg' (command line): expected a section with the keys encoder, decoder, whole, initialize_from.",
    "model=3": "model = 3 (command line): expected a section with the keys encoder, decoder, whole, initialize_from.",
    "model.whole=vgg": "model.whole.name = 'vgg' (command line): unknown whole model. Available: plain, unet.",
    "model={encoder: plain, decoder: segnet, whole: plain}": (
        "model.whole = {name: 'plain'} (command line): expected either a whole model, or an encoder and a decoder. Leave one out."
    ),
    "model={name: unet, architecture: Unet}": (
        "model.name = 'unet' (command line): this key is now model.whole.name. Write that instead."
    ),
    "plugins={a: 1}": "plugins = {a: 1} (command line): expected a list of Python files.",
    "model.initialize_from=3": "model.initialize_from = 3 (command line): expected a path or null.",
    "name=a b": (
        "name = 'a b' (command line): expected text of letters, digits, '.', '_' and '-' that starts with a letter or digit."
    ),
    "seed=-1": "seed = -1 (command line): expected an integer >= 0 and <= 9223372036854775807.",
    "transforms.flip=1.5": "transforms.flip = 1.5 (command line): expected a number >= 0 and <= 1.",
    "transforms.flip=true": "transforms.flip = true (command line): expected a number >= 0 and <= 1.",
    "transforms.input_scale=.inf": "transforms.input_scale = '.inf' (command line): expected a number > 0 and <= 4.",
    "transforms.scale=[2, 1]": "transforms.scale = [2, 1] (command line): expected [low, high] with low <= high.",
    "transforms.scale=[0, 1]": ("transforms.scale = [0, 1] (command line): expected a list of 2 (each a number > 0)."),
    "transforms.crop=[360]": (
        "transforms.crop = [360] (command line): expected a list of 2 (each an integer >= 1) or null."
    ),
    "transforms.crop=360": (
        "transforms.crop = 360 (command line): expected a list of 2 (each an integer >= 1) or null."
    ),
    "transforms.rotate=181": "transforms.rotate = 181 (command line): expected a number >= 0 and <= 180.",
    "transforms.blur=-1": "transforms.blur = -1 (command line): expected a number >= 0 and <= 1.",
    "transforms.class_max_ratio=0": "transforms.class_max_ratio = 0 (command line): expected a number > 0 and <= 1.",
    "transforms.class_max_ratio=.5": "transforms.class_max_ratio = 0.5 (command line): expected 1.0 without transforms.crop. Set that too.",
    "transforms.backend=kornia": "transforms.backend = 'kornia' (command line): expected one of albumentations, torchvision.",
    "model.decoder.width=1.5": "model.decoder.width = 1.5 (command line): expected an integer >= 1.",
    "model.decoder.width=0": "model.decoder.width = 0 (command line): expected an integer >= 1.",
    "model.decoder.width=true": "model.decoder.width = true (command line): expected an integer >= 1.",
    "model.decoder.mode=bilinear": "model.decoder.mode = 'bilinear' (command line): expected one of fixed, learned.",
    "optimizer.lr=false": "optimizer.lr = false (command line): expected a number.",
    "optimizer.lr='0.1'": "optimizer.lr = '0.1' (command line): expected a number.",
    "optimizer.lr=[1]": "optimizer.lr = [1] (command line): expected a number.",
    "optimizer.nesterov=on": "optimizer.nesterov = 'on' (command line): expected true or false.",
    "optimizer.betas=[1]": "optimizer.betas = [1] (command line): expected a list of 2 (each a number).",
    "optimizer.betas={a: 1}": "optimizer.betas = {a: 1} (command line): expected a list of 2 (each a number).",
    "data.classes=road": "data.classes = 'road' (command line): expected a list (each text).",
    "data.void=x": "data.void = 'x' (command line): expected an integer or null.",
    "data.root=3": "data.root = 3 (command line): expected a path.",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_answered_with_its_sentence(folder, override):
    assert problems(override) == [f"  {MISTAKES[override]}"]


WHOLE = "base: a.yaml\nmodel: {whole: {name: unet, encoder: vgg, decoder_channels: 8}}\n"


def test_a_whole_model_stands_in_place_of_encoder_and_decoder(folder):
    write("b.yaml", WHOLE)
    model = run_config("model.whole.encoder=resnet", path="b.yaml").model
    assert model.whole == Component("unet", {"encoder": "resnet", "architecture": "Unet", "decoder_channels": 8})
    assert (model.encoder, model.decoder, model.title) == (None, None, "unet-unet-resnet")
    assert run_config().model.title == "fcn8s"


def test_an_encoder_and_a_decoder_stand_in_place_of_a_whole_model(folder):
    write("b.yaml", WHOLE)
    model = run_config("model.encoder=plain", "model.decoder=segnet", path="b.yaml").model
    assert (model.encoder, model.decoder, model.whole) == (Component("plain"), Component("segnet"), None)


def test_a_saved_whole_model_is_the_same_model(folder):
    first = run_config("model={whole: {name: unet, encoder: vgg}, initialize_from: runs/a}")
    values = config_values(first)
    assert values["model"] == {
        "whole": {"name": "unet", "encoder": "vgg", "architecture": "Unet", "decoder_channels": None},
        "initialize_from": "runs/a",
    }
    write("saved.yaml", dump(values))
    assert run_config(path="saved.yaml") == first
    assert pickle.loads(pickle.dumps(first)) == first


WHOLE_MISTAKES = {
    "model.whole.decoder_channels=0": (
        "model.whole.decoder_channels = 0 (command line): expected an integer >= 1 or null."
    ),
    "model.whole.encodr=vgg": (
        "model.whole.encodr = 'vgg' (command line): unknown key of unet. Did you mean 'encoder'? "
        "Known keys: name, encoder, architecture, decoder_channels."
    ),
    "model.whole.encoder=7": "model.whole.encoder = 7 (command line): expected text.",
    "model.initialize_from=7": "model.initialize_from = 7 (command line): expected a path or null.",
    "model.decoder=segnet": (
        "model.encoder is missing: expected the name of the encoder: plain. Set it in the file or on the command line: model.encoder=..."
    ),
}


@pytest.mark.parametrize("override", WHOLE_MISTAKES)
def test_a_mistake_in_a_whole_model_is_answered_with_its_sentence(folder, override):
    write("b.yaml", WHOLE)
    assert problems(override, path="b.yaml") == [f"  {WHOLE_MISTAKES[override]}"]


def test_a_key_that_was_renamed_is_refused_with_its_new_name(folder, monkeypatch):
    monkeypatch.setitem(RENAMED_KEYS, "training.epochen", "training.epochs")
    monkeypatch.setitem(RENAMED_KEYS, "optimizer.rate", "optimizer.lr")
    assert problems("training.epochen=3", "optimizer.rate=1") == [
        "  optimizer.rate = 1 (command line): this key is now optimizer.lr. Write that instead.",
        "  training.epochen = 3 (command line): this key is now training.epochs. Write that instead.",
    ]


def test_what_is_missing_is_named_with_the_way_to_set_it(folder):
    write("empty.yaml", "name: x\ndata: {root: a}\noptimizer: sgd\n")
    expected = {
        "data.name": "the name of the dataset: folder",
        "model.encoder": "the name of the encoder: plain",
        "model.decoder": "the name of the decoder: fcn32s, fcn8s, segnet",
        "loss.function": "the name of the loss function: plain",
        "loss.class_weights": "the name of the class weighting: plain",
        "optimizer.lr": "a number",
        "schedule": "the name of the schedule: plain",
        "training.epochs": "either training.epochs or training.steps",
    }
    assert problems(path="empty.yaml") == [
        f"  {key} is missing: expected {what}. Set it in the file or on the command line: {key}=..."
        for key, what in expected.items()
    ]


def test_all_problems_of_all_sections_are_listed_with_their_places(folder):
    write("b.yaml", "base: a.yaml\nseed: x\ntraining:\n  batch_size: 0\nmodel:\n  decoder:\n    widht: 3\n")
    assert problems("optimizer.lr=x", path="b.yaml") == [
        "  seed = 'x' (b.yaml:2): expected an integer >= 0 and <= 9223372036854775807.",
        "  model.decoder.widht = 3 (b.yaml:7): unknown key of fcn8s. Did you mean 'width'? Known keys: name, width, mode.",
        "  optimizer.lr = 'x' (command line): expected a number.",
        "  training.batch_size = 0 (b.yaml:4): expected an integer >= 1.",
    ]


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_an_infinite_number_is_refused_in_sections_and_options(number, folder):
    values = resolve(Path("a.yaml")).values | {"transforms": {"pca_noise": number}}
    values["optimizer"] |= {"lr": number}
    with pytest.raises(InputError, match="transforms.pca_noise = .*\n.*optimizer.lr = ") as caught:
        validate(values, {}, TABLES)
    assert str(caught.value).startswith("The config has 2 problems:")


def test_the_values_given_are_not_changed(folder):
    resolved = resolve(Path("a.yaml"))
    before = dump(resolved.values)
    validate(resolved.values, resolved.sources, TABLES)
    assert dump(resolved.values) == before


def hidden(**options: int): ...


def untyped(*, width=3): ...


@pytest.mark.parametrize("constructor", [hidden, untyped])
def test_a_constructor_that_cannot_be_checked_is_a_mistake_in_the_code(folder, constructor):
    with pytest.raises(TypeError, match=r"hidden takes \*\*options|untyped's option 'width' has no type"):
        validate(resolve(Path("a.yaml")).values, {}, TABLES | {"schedule": {"plain": constructor}})
