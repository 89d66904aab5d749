"""Keys that have new names: refused in config files, and translated in the run folders of earlier versions."""

from collections.abc import Mapping
from typing import Any

RENAMED_KEYS = {
    "transforms.resolution": "transforms.input_scale",
    "schedule.rise": "schedule.pct_start",
    "schedule.start_divisor": "schedule.div_factor",
    "schedule.end_divisor": "schedule.final_div_factor",
    "model.name": "model.whole.name",
}


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested values of a stored config, each section with the keys of this version."""
    found = {key: dict(each) if isinstance(each, Mapping) else each for key, each in values.items()}
    model = found.get("model")
    if isinstance(model, dict) and "name" in model:  # a whole model had its options in the section itself
        whole = {key: model.pop(key) for key in list(model) if key != "initialize_from"}
        model["whole"] = whole
    for old, new in RENAMED_KEYS.items():
        section, _, key = old.partition(".")
        if isinstance(found.get(section), dict) and key in found[section]:
            found[section][new.partition(".")[2]] = found[section].pop(key)
    return found
