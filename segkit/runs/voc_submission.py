"""Predictions in the layout of PASCAL VOC's evaluation server."""

import os
import shutil
import tarfile
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.data.datasets.voc import CLASS_NAMES, voc, voc_color
from segkit.data.files.images import read_image
from segkit.errors import InputError
from segkit.runs.predict import Predictor
from segkit.system.files import write_atomically
from segkit.system.machine import require_writable
from segkit.tensors import IGNORE
from segkit.tracking.console import progress_bar
from segkit.viz.palette import palette_image

Competition = Literal["comp5", "comp6"]  # trained on VOC's own data alone, or on more, such as ImageNet or SBD
ARCHIVE = "results.tar.gz"
_PALETTE = np.array([voc_color(index) for index in range(IGNORE + 1)], np.uint8)


def write_submission(predictor: Predictor, split: str, out: Path, *, competition: Competition = "comp6") -> Path:
    """Label every image of a list and write OUT/results/VOC2012/Segmentation/COMPETITION_SPLIT_cls/ID.png, archived.

    Args:
        predictor: its model has VOC's 21 classes; its config's data.root holds the list and the images.
        split: list of VOC, such as `test`, whose images have no labels, or `val`.
        competition: comp6 unless nothing but VOC's own training data was used, for the encoder either.
    Returns:
        The archive, OUT/results.tar.gz.
    Raises:
        InputError: if the classes or the dataset are not VOC's, the list or an image is missing, or `out` has results.
    Source: VOCdevkit's VOCinit.m (VOCopts.seg.clsrespath) and the server's instructions.
    """
    split = split.removeprefix("voc2012/")
    pairs = _pairs(predictor, split)
    results, unfinished = out / "results", out / f".results.{os.getpid()}.partial"
    if results.exists():
        remedy = "Choose another folder with --out, or delete it first."
        raise InputError(f"{results} exists; nothing was written. {remedy}")
    require_writable(out, "--out")
    folder = unfinished / "VOC2012" / "Segmentation" / f"{competition}_{split}_cls"
    folder.mkdir(parents=True)
    try:
        with progress_bar(f"labelling {split}", len(pairs)) as progress:
            for id, image in pairs:
                palette_image(predictor(read_image(image)), _PALETTE).save(folder / f"{id}.png")
                progress(1)
        write_atomically(out / ARCHIVE, partial(_pack, unfinished))
        unfinished.rename(results)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return out / ARCHIVE


def _pairs(predictor: Predictor, split: str) -> list[tuple[str, Path]]:
    """Id and image file of every line of the list."""
    data = predictor.config.data
    if data.name != "voc" or tuple(predictor.class_names) != CLASS_NAMES:
        found = f"data.name = '{data.name}', {len(predictor.class_names)} classes"
        raise InputError(f"--voc-submission: {found}; expected a run on voc and its 21 classes. Give such a run.")
    listed = voc(**{**data.options, "test": split}).splits["test"]
    if "/" in split:
        raise InputError(f"--voc-submission {split}: expected a list of VOC, such as test or val. Give one.")
    listed.require(split, labels=False)
    return [(pair.id, pair.image) for pair in listed.pairs]


def _pack(folder: Path, path: Path) -> None:
    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid, member.uname, member.gname = 0, 0, "", ""
        return member

    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname="results", filter=anonymous)
