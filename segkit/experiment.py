"""An experiment: runs that belong together, described in one file."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from segkit import build
from segkit.errors import InputError
from segkit.plain_yaml import load
from segkit.run import check_folder
from segkit.schema import FOLDER_NAME, Experiment
from segkit.signatures import show
from segkit.tracking.run_dir import RunDir


@dataclass(frozen=True)
class Member:
    """One run of an experiment: what is trained, and where."""

    experiment: Experiment
    run: RunDir


def read_stages(path: Path, overrides: Sequence[str] = (), *, runs: Path = Path("runs")) -> list[Member]:
    """The runs of an experiment, in order; each starts from the best weights of the one before (FCN-32s, FCN-16s, FCN-8s).

    The file holds `name`, and `stages`: run -> config file, relative to this file. Runs go to RUNS/NAME/RUN.

    Args:
        overrides: `a.b=c` for every stage; model.initialize_from is for the first.
    Raises:
        InputError: if the file or one of its configs is not valid.
    """
    if not path.is_file():
        raise InputError(f"The experiment file '{path}' does not exist. Check the path.")
    try:
        values = load(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    name, stages = values.get("name"), values.get("stages")
    if set(values) != {"name", "stages"} or not isinstance(name, str):
        raise InputError(f"{path} has the keys {', '.join(values) or 'none'}; expected exactly name (a text) and stages.")
    if not isinstance(stages, dict) or not stages or not all(isinstance(file, str) for file in stages.values()):
        raise InputError(f"{path}: stages = {show(stages)}: expected a config file for each run, such as fcn32s: ../../configs/NAME.yaml.")
    for folder in (name, *stages):
        if not re.fullmatch(FOLDER_NAME, folder):
            raise InputError(f"{path}: '{folder}' names a folder: expected letters, digits, '.', '_' and '-', a letter or digit first.")
    members: list[Member] = []
    for stage, file in stages.items():
        follows = [f"model.initialize_from={json.dumps(str(members[-1].run.path))}"] if members else []
        experiment, _ = build.load_experiment(path.parent / file, [*overrides, *follows])
        with torch.device("meta"):  # nothing is trained before every net can be built
            build.build_model(experiment, len(build.build_classes(experiment)[0]), restore=True)
        members.append(Member(experiment, RunDir(runs / name / stage)))
    return members


def prepare(members: Sequence[Member], *, overwrite: bool = False) -> None:
    """Checks the data and every run folder before the first stage is trained, or (`overwrite`) deletes the runs.

    Raises:
        InputError: if a dataset is missing (nothing was deleted then), a folder holds something else, or a stage was trained from an
            earlier version of one that is trained now.
    """
    for member in members:
        for split in ("train", "val", "test"):
            build.build_dataset(member.experiment, split)
    stale = None
    for member in members:
        if overwrite and member.run.exists:
            member.run.remove()
        check_folder(member.experiment, member.run)
        if stale and member.run.precious:
            raise InputError(f"{member.run.path} did not start from {stale}, which is yet to be trained. Train all again with --overwrite.")
        stale = stale or (None if member.run.finished else member.run.path)
