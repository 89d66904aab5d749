"""Keys of earlier versions: refused in a config file, read in the folder of a run."""

from pathlib import Path

import pytest

from segkit.build import load_config
from segkit.config.renamed import RENAMED_KEYS, with_new_names
from segkit.errors import InputError

RECORD = Path(__file__).parents[2] / "experiments/first_light/results/fcn8s/config.yaml"


@pytest.fixture
def old(tmp_path):
    """A config with the keys of an earlier version."""
    text = RECORD.read_text()
    for key, new in RENAMED_KEYS.items():
        if not key.startswith("model."):
            text = text.replace(f"  {new.rpartition('.')[2]}: ", f"  {key.rpartition('.')[2]}: ")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_config_file_with_old_keys_is_refused_and_each_new_key_is_named(old):
    with pytest.raises(InputError) as caught:
        load_config(old)
    for old in ("transforms.resolution", "schedule.rise", "schedule.start_divisor", "schedule.end_divisor"):
        assert f"this key is now {RENAMED_KEYS[old]}" in str(caught.value)


def test_a_run_folder_with_old_keys_is_read_as_it_was_meant(old):
    (old.parent / "environment.json").write_text("{}")
    config = load_config(old)[0]
    assert config.transforms.input_scale == 0.5
    assert config.schedule.options["div_factor"] == 25.0
    assert config.model.title == "fcn8s"


def test_a_whole_model_had_its_options_in_the_section_itself():
    model = {"name": "smp", "architecture": "Unet", "initialize_from": None}
    whole = {"name": "smp", "architecture": "Unet"}
    assert with_new_names({"model": model}) == {"model": {"initialize_from": None, "whole": whole}}
