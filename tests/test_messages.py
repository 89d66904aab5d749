"""The golden file of sentences: how values are taken out of a text, and that every entry belongs to a test."""

import ast
import json

import pytest
from golden import MESSAGES, template


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a.lr = 14 (of 4)", [4, "a.lr"], "{1} = 14 (of {0})"),
        ("/runs/a/b is in /runs/a", ["/runs/a", "/runs/a/b"], "{1} is in {0}"),
        ("0.5 of 5 and 1.5", [5, 0.5], "{1} of {0} and 1.5"),
        ("crops of a crop; 1 of 0", ["crop", 1, 0], "crops of a {0}; {1} of {2}"),
        ("32x48, not 32x480", ["48", 32], "{1}x{0}, not {1}x480"),
        ("'.' and '': a.b", [".", ""], "'.' and '': a.b"),
    ],
)
def test_values_become_their_numbers_the_longest_first(text, values, expected):
    assert template(text, *values) == expected


def test_a_value_that_a_text_does_not_name_is_an_error(tmp_path):
    with pytest.raises(AssertionError, match="'lr' is not named"):
        template("the lrs of 4", "lr")
    assert template(f"{tmp_path}/a and {tmp_path}", tmp_path / "a", folder=tmp_path) == "{0} and {tmp}"


def test_every_recorded_sentence_belongs_to_a_test():
    for file, entries in json.loads(MESSAGES.read_text(encoding="utf-8")).items():
        path = MESSAGES.parent / file
        assert path.is_file(), f"tests/messages.json has sentences of {file}, which does not exist: remove them"
        defined = {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "name")}
        assert set(entries) <= defined, f"tests/messages.json has sentences of tests that {file} lacks: remove them"
