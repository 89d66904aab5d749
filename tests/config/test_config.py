"""Config files: which layer wins, where each value was set, and how a file or override that is wrong is refused."""

from pathlib import Path

import pytest
from base_config import write

from segkit.config.resolve import resolve
from segkit.errors import InputError


def refusal(*overrides: str, path: str = "a.yaml") -> str:
    with pytest.raises(InputError) as caught:
        resolve(Path(path), overrides)
    return str(caught.value)


def test_later_bases_win_and_the_file_wins_over_its_bases(folder):
    write("parts/one.yaml", "seed: 1\ntraining: {workers: 1, cache: true}\ntransforms: {scale: [1, 2]}")
    write("parts/two.yaml", "base: one.yaml\nseed: 2\ntraining: {workers: 2}")
    write("parts/three.yaml", "training: {workers: 3}\ntransforms: {scale: [3, 4]}")
    write("b.yaml", "base: [a.yaml, parts/two.yaml, parts/three.yaml]\nname: b")
    found = resolve(Path("b.yaml"), ["seed=5", "seed=6"])
    assert found.values["name"] == "b"
    assert found.values["seed"] == 6
    assert found.values["training"] == {"epochs": 3, "workers": 3, "cache": True}
    assert found.values["transforms"] == {"scale": [3, 4]}
    assert "base" not in found.values


def test_each_value_knows_where_it_was_set(folder):
    write("b.yaml", "base: a.yaml\nname: b\ntransforms:\n  crop: [1,\n    2]\n")
    sources = resolve(Path("b.yaml"), ["training.epochs=4"]).sources
    assert sources["name"] == "b.yaml:2"
    assert sources["transforms.crop"] == "b.yaml:4"
    assert sources["optimizer.lr"] == "a.yaml:9"
    assert sources["model.encoder.name"] == "a.yaml:4"
    assert sources["training.epochs"] == "command line: training.epochs=4"
    assert "seed" not in sources


@pytest.mark.parametrize(
    "override", ["model.decoder=segnet", "model.decoder.name=segnet", "model.decoder={name: segnet}"]
)
def test_another_component_does_not_inherit_options(folder, override):
    found = resolve(Path("a.yaml"), [override])
    assert found.values["model"]["decoder"] == {"name": "segnet"}
    assert "model.decoder.width" not in found.sources


def test_the_same_component_keeps_its_options(folder):
    write("b.yaml", "base: a.yaml\nmodel: {decoder: fcn8s}")
    assert resolve(Path("b.yaml")).values["model"]["decoder"] == {"name": "fcn8s", "width": 64}


def test_a_file_replaces_the_component_of_its_base(folder):
    write("b.yaml", "base: a.yaml\nname: other\nmodel: {decoder: {name: fcn32s, mode: learned}}")
    values = resolve(Path("b.yaml")).values
    assert values["model"]["decoder"] == {"name": "fcn32s", "mode": "learned"}
    assert values["training"] == {"epochs": 3}  # the config's own name is no component's


def test_the_order_of_overrides_does_not_matter(folder):
    overrides = ["model.decoder.mode=learned", "model.decoder=fcn32s", "model.encoder=plain"]
    expected = {"encoder": {"name": "plain"}, "decoder": {"name": "fcn32s", "mode": "learned"}}
    assert resolve(Path("a.yaml"), overrides).values["model"] == expected
    assert resolve(Path("a.yaml"), overrides[::-1]).values["model"] == expected


@pytest.mark.parametrize(
    "override",
    [
        "seed", "--seed 3", "a..b=3", "seed=", "seed=#3", "base=b.yaml", "seed=010", "seed=[1",
        "seed={a: 1, a: 2}", "name=a-${seed}", "a" + ".a" * 50 + "=1",
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_an_override_that_cannot_be_used_is_refused(folder, message, override):
    message(refusal(override), f"command line: {override}")


@pytest.mark.parametrize("base", ["3", "camvid", "a.yml", "no/a.yaml", ".", "b.yaml"])
def test_a_file_that_cannot_be_used_is_refused(folder, message, base):
    message(refusal(path=str(write("b.yaml", f"base: {base}"))), "b.yaml:1", base)


def test_a_circle_of_bases_names_both_files(folder, message):
    write("b.yaml", "base: c.yaml")
    write("c.yaml", "\nbase: b.yaml")
    message(refusal(path="b.yaml"), "c.yaml:2", "b.yaml")


def test_bases_that_are_mentioned_again_and_again_are_read_at_most_a_hundred_times(folder, message):
    for number in range(8):
        write(f"{number}.yaml", f"base: [{number + 1}.yaml, {number + 1}.yaml]")
    write("8.yaml", "seed: 1")
    message(refusal(path="0.yaml"), 100)


def test_a_missing_file_suggests_its_neighbour(folder, message):
    message(refusal(path="aa.yaml"), "aa.yaml", "a.yaml")


def test_a_file_that_is_not_utf8_is_refused(folder, message):
    Path("b.yaml").write_bytes(b"a: \xff")
    message(refusal(path="b.yaml"), "b.yaml", "byte 3")


def test_an_empty_file_holds_nothing(folder):
    assert resolve(write("b.yaml", "# nothing\n")).values == {}
    assert resolve(write("b.yaml", "\ufeffseed: 1")).values == {"seed": 1}
