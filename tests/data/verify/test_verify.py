"""`segkit data verify`: every planted fault is found, in one report, and nothing else; sound datasets have none."""

import json
import random
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from planted import WIDTH, image, labels, make_camvid, plant

from segkit.data import faults
from segkit.data.class_weights import cached_count
from segkit.data.dataset import Pair, PairDataset
from segkit.data.datasets.camvid import CLASSES, camvid
from segkit.data.datasets.road_classes import PALETTE
from segkit.data.faults import DataError, Fault
from segkit.data.verify.sample import look
from segkit.data.verify.verify import check_and_count
from segkit.errors import InputError

CAMVID = "configs/camvid/fcn8s.yaml"


def test_every_kind_of_planted_fault_is_found_and_nothing_else(verified, tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    planted = list(plant(root))
    code, kinds = verified(root, CAMVID, f"data.root={root}")
    assert code == 2
    assert len({kind for kind, _ in planted}) >= 40
    assert {(kind, place) for kind, places in kinds.items() for place in places} == set(planted)


def test_a_sound_dataset_has_no_fault_but_that_it_is_smaller_than_the_papers(verified, tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    assert verified(root, CAMVID, f"data.root={root}") == (0, {
        "split has another number of images than the papers'": {
            "train": "70 images, expected 367", "val": "8 images, expected 101", "test": "8 images, expected 233",
        }
    })  # fmt: skip


def test_the_report_says_what_is_there(segkit, tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    code, out, errors = segkit(
        "data", "verify", CAMVID, f"data.root={root}", "--out", tmp_path / "report.json", "--workers", 1
    )
    assert (code, errors) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [
        f"Files are in {root}.",
        "Labels should hold ids 0..10, or 11 or 255 for void; as RGB, the exact colours of the classes.",
    ]
    assert "WARNING: split has another number of images than the papers' (3)" in lines
    ids = np.stack([np.asarray(Image.open(path)) for path in sorted(root.glob("valannot/*.png"))])
    assert f"val: 8 images, height x width 48x64, {(ids == 11).mean():.1%} void" in lines
    (sky,) = [line for line in lines if "sky" in line]
    assert f" {100 * (ids == 0).sum() / (ids < 11).sum():.2f} " in sky
    assert lines[-1] == "Ready to train."
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["splits"]["val"]["pixels"] == np.bincount(ids.ravel(), minlength=12).tolist()
    assert report["splits"]["val"]["labels"] == [(ids == id).any((1, 2)).sum() for id in range(12)]
    assert (report["right"], report["images"], report["splits"]["val"]["sizes"]) == (True, 86, {"48x64": 8})


def test_of_many_faults_five_are_shown_and_all_are_in_the_file(segkit, tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    for index in range(9):
        (root / "train" / f"train_{index:03}.png").unlink()
    code, out, _ = segkit("data", "verify", CAMVID, f"data.root={root}", "--out", tmp_path / "report.json")
    assert code == 2
    assert max(map(len, out.splitlines())) <= 100
    first = out.index("PROBLEM: missing file (9)")
    assert out[first:].splitlines()[2:8] == [
        *(f"    train/train_{index:03}.png" for index in range(5)), "    and 4 more: --out FILE.json lists all",
    ]  # fmt: skip
    entries = json.loads((tmp_path / "report.json").read_text())["entries"]
    (missing,) = [entry for entry in entries if entry["title"] == "missing file"]
    assert [each["place"] for each in missing["found"]] == [f"{root}/train/train_{index:03}.png" for index in range(9)]


def test_a_dataset_that_is_drawn_has_nothing_to_verify(segkit, tmp_path):
    command = ("data", "verify", "configs/streets/fcn8s.yaml")
    assert segkit(*command) == (0, "streets has no files that segkit can verify.\n", "")
    code, out, errors = segkit(*command, "--json", "--out", tmp_path / "report.json")
    assert (code, errors) == (0, "")
    report = json.loads(out)
    assert (report["right"], report["splits"], report["entries"], report["class_names"][0]) == (True, {}, [], "sky")
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_read(segkit, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for out, message in {
        "folder": "folder: expected a file, this is a folder. Choose another name.",
        "file/report.json": "file is not a folder; nothing was written. Choose another folder.",
    }.items():
        code, _, errors = segkit("data", "verify", CAMVID, f"data.root={tmp_path}/nowhere", "--out", tmp_path / out)
        assert (code, errors.replace(f"--out {tmp_path}/", "")) == (2, f"segkit: {message}\n")


def test_ctrl_c_ends_it_with_one_line(segkit, tmp_path, monkeypatch):
    root = make_camvid(tmp_path / "CamVid")
    looked = []

    def see_until_ctrl_c(dataset, index):
        looked.append(index)
        if len(looked) == 5:
            signal.raise_signal(signal.SIGINT)
        return look(dataset, index)

    monkeypatch.setattr("segkit.data.verify.verify.look", see_until_ctrl_c)
    command = ("data", "verify", CAMVID, f"data.root={root}", "--out", tmp_path / "report.json", "--workers", 1)
    assert segkit(*command) == (130, "", "segkit: Ctrl-C: stopped before all was looked at; nothing was written.\n")
    assert len(looked) < 70
    assert not (tmp_path / "report.json").exists()


def whiten(paths):
    """Masks of 0 and 255 in place of labels."""
    for path in paths:
        Image.fromarray((np.asarray(Image.open(path)) % 2 * 255).astype(np.uint8)).save(path)


TINY = ["model.encoder.weights=null", "model.encoder.width=0.1", "training.batch_size=1", "training.epochs=1"]


def test_training_stops_before_its_folder_is_made_with_the_same_explanation(segkit, tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    whiten((root / "trainannot").iterdir())
    whiten([root / "valannot" / "val_000.png"])  # there it may be meant
    code, _, errors = segkit("train", CAMVID, f"data.root={root}", *TINY, "--run", tmp_path / "run")
    text = str(DataError(*[Fault(faults.ZERO_255, f"{root}/trainannot/train_000.png", "255: 38% of it")] * 70))
    assert (code, errors) == (2, f"segkit: {text}\n")
    assert not (tmp_path / "run").exists()


def test_0_255_masks_are_refused_from_the_cache_too_unless_another_label_shows_that_they_are_meant(tmp_path):
    layout = camvid(root=make_camvid(tmp_path / "CamVid"))
    masks = sorted((tmp_path / "CamVid" / "trainannot").iterdir())
    whiten(masks[1:])
    for _ in range(2):  # the second time, from the cache
        check(layout)
    whiten(masks[:1])
    for _ in range(2):
        assert {fault.kind for fault in faults_before_training(layout)} == {faults.ZERO_255}


def check(layout, progress=lambda _: None):
    return check_and_count(layout, {split: layout.checked(split) for split in layout.splits}, progress)


def faults_before_training(layout):
    with pytest.raises(DataError) as caught:
        check(layout)
    return caught.value.faults


def test_before_training_every_label_is_opened_once_and_counted_and_no_random_number_is_drawn(tmp_path, monkeypatch):
    layout, open_file, opened, advanced = camvid(root=make_camvid(tmp_path / "CamVid")), Path.open, [], []
    files = sorted(pair.labels for each in layout.splits.values() for pair in each.pairs)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    monkeypatch.setattr(Path, "open", lambda path, *a, **b: opened.append(path) or open_file(path, *a, **b))
    counts = check(layout, advanced.append)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert sorted(path for path in opened if path in files) == files
    assert sum(advanced) == 86
    assert counts == {split: cached_count(layout.checked(split)) for split in layout.splits}


def test_before_training_all_faults_of_files_are_found(tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    layout = camvid(root=root)
    Image.new("L", (WIDTH, 9)).save(root / "trainannot" / "train_001.png")
    (root / "val" / "val_002.png").write_bytes(b"no image")
    Image.fromarray(np.full((48, 64), 99, np.uint8)).save(root / "testannot" / "test_003.png")
    for _ in range(2):  # the second time, from the cache
        assert [(fault.kind, Path(fault.place).name) for fault in faults_before_training(layout)] == [
            (faults.SIZES_DIFFER, "train_001.png"),
            (faults.NO_IMAGE, "val_002.png"),
            (faults.UNKNOWN_IDS, "test_003.png"),
        ]


def test_a_void_split_is_refused_before_training(tmp_path):
    layout = camvid(root=make_camvid(tmp_path / "CamVid"))
    for pair in layout.splits["val"].pairs:
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(pair.labels)
    assert [(fault.kind, fault.place) for fault in faults_before_training(layout)] == [(faults.ALL_VOID, "val")]


def test_where_test_is_val_its_counts_are_those_of_val(tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    (root / "test.txt").write_text((root / "val.txt").read_text())
    counts = check(camvid(root=root))
    assert counts["test"] == counts["val"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Sound samples of every form: the image PNG or JPEG with EXIF, the label grey, palette or RGB."""
    root, rng = tmp_path_factory.mktemp("samples"), np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 3
    for form in ("grey", "palette", "RGB"):
        ids = labels(rng, 11)
        indexed = Image.fromarray(ids)
        if form == "palette":
            indexed.putpalette(PALETTE.tobytes())
        (Image.fromarray(PALETTE[ids]) if form == "RGB" else indexed).save(root / f"{form}_label.png")
        Image.fromarray(image(rng)).save(root / f"{form}.img", "PNG" if form == "RGB" else "JPEG", exif=exif)
    return root


@settings(max_examples=150)
@given(
    form=st.sampled_from(["grey", "palette", "RGB"]),
    of_label=st.booleans(),
    places=st.lists(st.floats(0, 0.999), max_size=3),
    early=st.booleans(),
    byte=st.integers(0, 255),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_verify_finds_a_problem_exactly_where_reading_fails(
    samples, tmp_path_factory, form, of_label, places, early, byte, kept
):
    pair = Pair(form, samples / f"{form}.img", samples / f"{form}_label.png")
    source = pair.labels if of_label else pair.image
    content = bytearray(source.read_bytes())
    for place in places:
        content[int(place * (60 if early else len(content)))] = byte
    changed = tmp_path_factory.getbasetemp() / f"changed{source.suffix}"
    changed.write_bytes(content[: round(kept * len(content))])
    dataset = PairDataset([replace(pair, **{"labels" if of_label else "image": changed})], CLASSES)
    try:
        readable = bool(dataset[0])
    except InputError:
        readable = False
    with warnings.catch_warnings(action="ignore"):
        seen = look(dataset, 0)
    assert readable == (not [fault for fault in seen.faults if fault.kind.level == "problem"])
