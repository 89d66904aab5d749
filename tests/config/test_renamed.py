"""Keys of earlier versions: refused in a config file, read in the folder of a run."""

import shutil
from pathlib import Path

import pytest

from segkit.build import load_config
from segkit.config.renamed import RENAMED_KEYS, with_new_names
from segkit.errors import InputError

OLD = Path(__file__).parents[2] / "experiments/first_light/results/fcn8s/config.yaml"


def test_a_config_file_with_old_keys_is_refused_and_each_new_key_is_named():
    with pytest.raises(InputError) as caught:
        load_config(OLD)
    for old in ("transforms.resolution", "schedule.rise", "schedule.start_divisor", "schedule.end_divisor"):
        assert f"this key is now {RENAMED_KEYS[old]}" in str(caught.value)


def test_a_run_folder_with_old_keys_is_read_as_it_was_meant(tmp_path):
    shutil.copy(OLD, tmp_path / "config.yaml")
    (tmp_path / "environment.json").write_text("{}")
    config = load_config(tmp_path / "config.yaml")[0]
    assert config.transforms.input_scale == 0.5
    assert config.schedule.options["div_factor"] == 25.0
    assert config.model.title == "fcn8s"


def test_a_whole_model_had_its_options_in_the_section_itself():
    model = {"name": "smp", "architecture": "Unet", "initialize_from": None}
    whole = {"name": "smp", "architecture": "Unet"}
    assert with_new_names({"model": model}) == {"model": {"initialize_from": None, "whole": whole}}
