"""YAML without its traps, read and written."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.config.resolve import config_hash, dump, load
from segkit.errors import InputError


@pytest.mark.parametrize(
    ("text", "place", "named"),
    [
        ("a: 1\nb: 2\na: 3", ":3", "key 'a'"),
        ("a: 010", ":1", "010"),
        ("a: -0_7", ":1", "-0_7"),
        ("a: 0o10", ":1", "0o10"),
        ("a: 1:30", ":1", "1:30"),
        ("a:\n- 0x1F", ":2", "0x1F"),
        ("a: 1e999", ":1", "1e999"),
        ("1: a", ":1", 1),
        ("true: a", ":1", "true"),
        ("? [a]\n: b", ":1", "a list or mapping"),
        ("? !!str {a: b}\n: b", ":1", "a list or mapping"),
        ("training.epochs: 3", ":1", "'training.epochs'"),
        ("a: !!python/name:os.x", ":1", "'!!python/name:os.x'"),
        ("a: !mine 3", ":1", "'!mine'"),
        ("a: !!int x", ":1", "'!!int'"),
        ("a: b: c", ", line 1, column 5", ""),
        ("a: 1\n---\nb: 2", ", line 2, column 1", ""),
        ("a: \x07", "", "U+0007"),
        ("a: &a [*a]", "", 50),
        ("a: " + "[" * 3000, "", 50),
        ("a: " + "[" * 51 + "]" * 51, "", 50),
        ("a: " + "b" * 100_000, "", 100_003),
        ("<<: 3", ":1", "'<<'"),
        ("- a", "", "a list"),
        ("3", "", "a single value"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_text_that_cannot_be_used_is_refused(message, text, place, named):
    with pytest.raises(InputError) as caught:
        load(text, "b.yaml")
    message(caught.value, f"b.yaml{place}", named)


def test_anchors_that_multiply_are_refused():
    lines = ["a0: &a0 [1, 1]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    merges = ["m0: &m0 {}"] + [f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, 40)]
    for text in (lines, merges):
        with pytest.raises(InputError, match="more than 10000 values"):
            load("\n".join(text))


def test_scalars_are_read_without_yaml_traps():
    text = "{a: 1e-3, b: 1E5, c: on, d: yes, e: true, f: null, g: ~, h: 1.5, i: -0, j: 2024-01-01, k: '010', l: 1_000}"
    assert load(text) == {
        "a": 0.001, "b": 1e5, "c": "on", "d": "yes", "e": True, "f": None,
        "g": None, "h": 1.5, "i": 0, "j": "2024-01-01", "k": "010", "l": "1_000",
    }  # fmt: skip
    assert [type(load(text)[key]) for key in "abehi"] == [float, float, bool, float, int]
    assert load("on: 1") == {"on": 1}


def test_anchors_and_merge_keys_work():
    found = load("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a")
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    assert load("p: &p {x: 1}\nq: &q {x: 2, y: 2}\nr: {<<: [*p, *q]}")["r"] == {"x": 1, "y": 2}


def test_text_that_other_readers_would_take_for_something_else_is_quoted():
    for text in ("on", "no", "1e-3", "010", "null", "1:30", "", "=", "<<", "2024-01-01", "0x1F", "true", ".inf", "1_0"):
        assert "'" in dump({"a": text}), text
    assert dump({"a": 1e-05, "b": [1, 2.0]}) == "a: 1.0e-05\nb: [1, 2.0]\n"


def test_an_infinite_number_is_not_written():
    with pytest.raises(ValueError, match="Out of range"):
        dump({"a": float("inf")})


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.sampled_from(
    ["on", "1e-3", "010", "null", "~", "1:30", "a: b", "- a", "#", "\n", " x ", "\x85", "\ufeff", "٣"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text | words
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="."), min_size=1, max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(keys, values, max_size=4))
def test_what_is_written_is_read_back(tree):
    assert repr(load(dump(tree))) == repr(tree)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(keys, values, max_size=4))
def test_the_hash_does_not_depend_on_the_order_of_keys(tree):
    assert config_hash(dict(reversed(tree.items()))) == config_hash(tree)
    assert set(config_hash(tree)) <= set(string.hexdigits)
    assert len(config_hash(tree)) == 12
    assert config_hash(tree | {"another": 1}) != config_hash(tree | {"another": 2})
