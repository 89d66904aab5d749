"""Options that hold other components: the terms of `weighted_sum`."""

from pathlib import Path

import pytest

from segkit.build import TABLES, load_config
from segkit.config.schema import config_values
from segkit.config.validate import validate
from segkit.errors import InputError

CONFIG = Path(__file__).parents[2] / "configs" / "streets" / "fcn8s.yaml"


def with_terms(terms, *more):
    return load_config(
        CONFIG, ["loss.class_weights=none", f"loss.function={{name: weighted_sum, terms: {terms}}}", *more]
    )[0]


def test_a_term_is_a_weight_or_a_weight_and_options_and_its_defaults_are_written_out():
    config = with_terms("{cross_entropy: 2, focal: {gamma: 3.0}}", "loss.function.terms.dice.squared=true")
    values = config_values(config)
    assert values["loss"]["function"] == {
        "name": "weighted_sum",
        "terms": {
            "cross_entropy": {"weight": 2.0, "normalizer": "valid_pixels"},
            "focal": {"weight": 1.0, "gamma": 3.0},
            "dice": {"weight": 1.0, "squared": True, "per_image": False},
        },
    }
    assert config_values(validate(values, {}, TABLES)) == values


@pytest.mark.parametrize(
    ("terms", "key", "value", "expected"),
    [
        ("{dise: 1}", "terms.dise", "1", "Did you mean 'dice'?"),
        ("{dice: 0}", "terms.dice.weight", "0", "expected a number > 0."),
        ("{dice: {weight: x}}", "terms.dice.weight", "'x'", "expected a number > 0."),
        ("{focal: {gama: 2}}", "terms.focal.gama", "2", "Did you mean 'gamma'? Known keys: weight, gamma."),
        ("{focal: {gamma: -1}}", "terms.focal.gamma", "-1", "expected a number >= 0."),
        ("{weighted_sum: {terms: {dise: 1}}}", "terms.weighted_sum.terms.dise", "1", "Did you mean 'dice'?"),
        ("[dice]", "terms", "['dice']", "expected names and weights, such as {cross_entropy: 1.0, dice: 0.5}."),
        ("{}", "terms", "{}", "expected names and weights"),
    ],
)
def test_each_problem_of_a_term_is_named_under_its_key(terms, key, value, expected):
    with pytest.raises(InputError) as error:
        with_terms(terms)
    assert "has 1 problem:" in str(error.value)
    assert f"loss.function.{key} = {value} (" in str(error.value)
    assert expected in str(error.value)
