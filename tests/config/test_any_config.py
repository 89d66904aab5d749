"""Whatever a config holds, it is an experiment or is refused. `pytest --hypothesis-profile=search` looks longer."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from segkit.build import TABLES, load_config
from segkit.config.resolve import dump, flat
from segkit.config.schema import config_values
from segkit.config.validate import validate
from segkit.errors import InputError

REPOSITORY = Path(__file__).parents[2]
FILES = sorted(REPOSITORY.glob("configs/*/**/*.yaml")) + sorted(REPOSITORY.glob("experiments/*/results/*/config.yaml"))
TEXTS = {
    path: re.sub(r"(base: |\[|, )((?:[\w.]+/)*\w+\.yaml)", rf"\1{path.parent}/\2", path.read_text()) for path in FILES
}
KEYS = sorted({key for path in FILES if "base" not in path.parts for key in flat(config_values(load_config(path)[0]))})
WORDS = [
    "null", "true", "on", "1e-3", "010", "-1", "0", "1e999", ".inf", "2e308", "9" * 20, "''", "{}", "[]", "[1, 2]", "[[1]]", "{a: 1}",
    "${name}", "${data}", "${seed}${seed}", "${", "!!python/name:os.system", "&a [*a]", "*a", "<<", "\\0", '"\\0"', '"\\uD800"', "../x",
    "/dev/zero", "\ufeff", "a.b", "x: y", "- x", "# x", "\t", "\n", "\n  ", "|", ">", "---", "...", "%YAML 3", "? ", ": ", ",", "]", "}",
]  # fmt: skip

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.sampled_from(WORDS) | text
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary(max_size=4) | words
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3))
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), words), min_size=1, max_size=4)
overrides = st.lists(st.tuples(st.sampled_from(KEYS) | text, words).map("=".join), max_size=3)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("configs") / "a.yaml"


def check(path, content, given=()):
    """The config is refused, or it is an experiment that is the same after it was saved."""
    path.write_bytes(content)
    try:
        config, _ = load_config(path, given)
    except InputError:
        return
    values = config_values(config)
    path.write_text(dump(values), encoding="utf-8")
    assert load_config(path)[0] == config
    assert validate(values, {}, TABLES) == config


@given(source=st.sampled_from(sorted(TEXTS)), edits=edits, given=overrides)
def test_a_real_config_that_was_changed_anywhere_is_read_or_refused(path, source, edits, given):
    content = TEXTS[source]
    for place, removed, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    check(path, content.encode(), given)


@given(tree=trees)
def test_any_yaml_is_read_or_refused(path, tree):
    check(path, yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass"))


@given(source=st.sampled_from(sorted(TEXTS)), key=st.sampled_from(KEYS), value=scalars)
def test_any_value_of_any_key_is_taken_or_refused(path, source, key, value):
    tree = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    check(path, f"{yaml.safe_dump({'base': str(source)} | tree, allow_unicode=True)}".encode(errors="surrogatepass"))


@given(content=st.binary(max_size=60) | st.lists(words, max_size=30).map(" ".join).map(str.encode), given=overrides)
def test_any_text_is_read_or_refused(path, content, given):
    check(path, content, given)
