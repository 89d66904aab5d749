"""An experiment: what it holds, and the sentence that each mistake in a config is answered with."""

import pickle
from pathlib import Path
from typing import Literal

import pytest
from base_config import write

from segkit.config.ranges import Count
from segkit.config.resolve import config_hash, dump, load, resolve
from segkit.config.schema import COMPONENTS, Component, config_values
from segkit.config.validate import validate
from segkit.errors import InputError


def folder_of(split: str, *, root: Path, classes: tuple[str, ...] = ("road", "sky"), void: int | None = None): ...


def fcn(stages: int, *, width: Count = 4096, mode: Literal["fixed", "learned"] = "fixed"): ...


def unet(num_classes: int, *, encoder: str, architecture: str = "Unet", decoder_channels: Count | None = None): ...


def plain(*_: object): ...


def sgd(
    model: object, *, lr: float, momentum: float = 0, betas: tuple[float, float] = (0.9, 0.999), nesterov: bool = False
): ...


TABLES = dict.fromkeys(COMPONENTS, {"plain": plain}) | {
    "data": {"folder": folder_of},
    "model.decoder": {"fcn8s": fcn, "fcn32s": fcn, "segnet": plain},
    "optimizer": {"sgd": sgd},
    "model.whole": {"plain": plain, "unet": unet},
}


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
    assert second == first == pickle.loads(pickle.dumps(first))
    assert config_values(second) == values == load(dump(values))
    assert config_hash(config_values(second)) == config_hash(values)


def test_a_default_and_the_same_value_written_out_have_one_hash(folder):
    written = run_config("optimizer.momentum=0", "optimizer.betas=[0.9, 0.999]", "transforms.input_scale=1")
    assert config_hash(config_values(written)) == config_hash(config_values(run_config()))


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


WHOLE = "base: a.yaml\nmodel: {whole: {name: unet, encoder: vgg, decoder_channels: 8}}\n"
MISTAKES = {
    "training.epohs": ["3"], "training.crop": ["[2, 2]"], "on": ["1"], "model.decoder.widht": ["3"],
    "schedule.power": ["1"], "model.decoder": ["fcn9s", "7", "null"], "model.decoder.name": ["7"],
    "training.batch_size": ["'4'", "4.0", "true", "0", "{a: 1}"], "training.epochs": ["100.0"],
    "training.steps": ["4"], "training.accumulation": ["3"], "training.device": ["gpu"],
    "training.cache": ["yes", "1"], "training.gradient_clip": ["0"], "training": ["3", "null"],
    "model": ["vgg", "3"], "model.whole": ["vgg"], "plugins": ["{a: 1}"], "model.initialize_from": ["3"],
    "name": ["a b"], "seed": ["-1"], "transforms.flip": ["1.5", "true"], "transforms.input_scale": [".inf"],
    "transforms.scale": ["[2, 1]", "[0, 1]"], "transforms.crop": ["[360]", "360"], "transforms.rotate": ["181"],
    "transforms.blur": ["-1"], "transforms.class_max_ratio": ["0", "0.5"], "transforms.backend": ["kornia"],
    "model.decoder.width": ["1.5", "0", "true"], "model.decoder.mode": ["bilinear"],
    "optimizer.lr": ["false", "'0.1'", "[1]"], "optimizer.nesterov": ["on"], "optimizer.betas": ["[1]", "{a: 1}"],
    "data.classes": ["road"], "data.void": ["x"], "data.root": ["3"],
}  # fmt: skip
WHOLE_MISTAKES = {"model.whole.decoder_channels": ["0"], "model.whole.encodr": ["vgg"]}
WHOLE_MISTAKES |= {"model.whole.encoder": ["7"], "model.initialize_from": ["7"]}


def overrides(mistakes: dict[str, list[str]]) -> list[str]:
    return [f"{key}={value}" for key, values in mistakes.items() for value in values]


@pytest.mark.parametrize("override", overrides(MISTAKES))
def test_a_mistake_is_answered_with_its_sentence(folder, message, override):
    key, _, value = override.partition("=")
    message(problems(override), key, value)


@pytest.mark.parametrize("override", overrides(WHOLE_MISTAKES))
def test_a_mistake_in_a_whole_model_is_answered_with_its_sentence(folder, message, override):
    write("b.yaml", WHOLE)
    key, _, value = override.partition("=")
    message(problems(override, path="b.yaml"), key, value)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.epochs=1e2", "training.epochs", "100.0"),
        ("training.epochs=null", "training.epochs", "training.steps"),
        ("transforms.class_max_ratio=.5", "transforms.class_max_ratio", "0.5"),
        ("model={encoder: plain, decoder: segnet, whole: plain}", "model.whole", "{name: 'plain'}"),
        ("model={name: unet, architecture: Unet}", "model.name", "model.whole.name"),
    ],
    ids=["scientific", "missing", "fraction", "whole beside parts", "old name"],
)
def test_a_mistake_is_shown_at_the_key_and_with_the_value_that_were_understood(folder, message, override, key, value):
    message(problems(override), key, value)


def test_a_whole_model_stands_in_place_of_encoder_and_decoder_and_they_in_its_place(folder):
    write("b.yaml", WHOLE)
    model = run_config("model.whole.encoder=resnet", path="b.yaml").model
    assert model.whole == Component("unet", {"encoder": "resnet", "architecture": "Unet", "decoder_channels": 8})
    assert (model.encoder, model.decoder, model.title) == (None, None, "unet-unet-resnet")
    model = run_config("model.encoder=plain", "model.decoder=segnet", path="b.yaml").model
    assert (model.encoder, model.decoder, model.whole) == (Component("plain"), Component("segnet"), None)
    assert model.title == "segnet"


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


def test_a_decoder_in_place_of_a_whole_model_asks_for_an_encoder(folder, message):
    write("b.yaml", WHOLE)
    message(problems("model.decoder=segnet", path="b.yaml"), "model.encoder", "plain")


def test_what_is_missing_is_named_with_the_way_to_set_it(folder, message):
    write("empty.yaml", "name: x\ndata: {root: a}\noptimizer: sgd\n")
    keys = ["data.name", "model.encoder", "model.decoder", "loss.function", "loss.class_weights", "optimizer.lr"]
    message(problems(path="empty.yaml"), *keys, "schedule", "training.epochs", "fcn32s, fcn8s, segnet")


def test_all_problems_of_all_sections_are_listed_with_their_places(folder, message):
    write("b.yaml", "base: a.yaml\nseed: x\ntraining:\n  batch_size: 0\nmodel:\n  decoder:\n    widht: 3\n")
    places = ["seed = 'x' (b.yaml:2)", "model.decoder.widht = 3 (b.yaml:7)", "training.batch_size = 0 (b.yaml:4)"]
    message(problems("optimizer.lr=x", path="b.yaml"), *places, "optimizer.lr = 'x' (command line)")


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_an_infinite_number_is_refused_in_sections_and_options(number, folder, message):
    values = resolve(Path("a.yaml")).values | {"transforms": {"pca_noise": number}}
    values["optimizer"] |= {"lr": number}
    with pytest.raises(InputError) as caught:
        validate(values, {}, TABLES)
    message(caught.value, 2, "transforms.pca_noise", "optimizer.lr")


def test_the_values_given_are_not_changed(folder):
    resolved = resolve(Path("a.yaml"))
    before = dump(resolved.values)
    validate(resolved.values, resolved.sources, TABLES)
    assert dump(resolved.values) == before
