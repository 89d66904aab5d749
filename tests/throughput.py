"""How many images a second each dataset gives: `python tests/throughput.py [CAMVID] [VOCDEVKIT]`. Takes a minute or
two.

Reading alone, then training batches of whole images or crops without workers and with two. CamVid at full resolution is
the real one, twice enlarged, in RGB labels; SBD is VOC's masks as .mat files; the folder is VOC's with RGB masks and
lists.
"""

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from segkit import build
from segkit.config.schema import RunConfig
from segkit.config.yaml import mapping_of, parse
from segkit.data.datasets.camvid import camvid
from segkit.data.datasets.camvid_full import ORIGINAL
from segkit.data.datasets.class_file import classes_text
from segkit.data.datasets.road_classes import CLASS_NAMES
from segkit.data.datasets.voc import CLASS_NAMES as VOC_NAMES
from segkit.data.datasets.voc import PALETTE, voc, voc_color
from segkit.tensors import IGNORE

IMAGES, SECONDS = 60, 4.0
CONFIG = """
name: throughput
data: {{{data}}}
transforms: {{{transforms}}}
model: {{encoder: {{name: vgg16, width: 0.0625}}, decoder: {{name: fcn8s, head_width: 16}}}}
loss: {{function: cross_entropy, class_weights: none}}
optimizer: {{name: adamw, lr: 0.001}}
schedule: constant
training: {{epochs: 1000, batch_size: {batch}, workers: {workers}}}
"""


def full_camvid(source: Path, root: Path) -> None:
    """60 real pairs, twice enlarged, under all 701 names."""
    named = [next(name for name, (_, group) in ORIGINAL.items() if group == each) for each in CLASS_NAMES]
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(named)] = [ORIGINAL[name][0] for name in named]
    for kind in ("images", "labels", "made"):
        (root / kind).mkdir(parents=True)
    dataset = camvid(root=source).checked("train")
    for index in range(IMAGES):
        sample = dataset[index]
        Image.fromarray(sample.image).resize((960, 720)).save(root / "made" / f"{index}.png")
        Image.fromarray(colors[sample.labels].repeat(2, 0).repeat(2, 1)).save(root / "made" / f"{index}_L.png")
    layout = build.LAYOUTS["camvid_full"](root=root)
    for number, pair in enumerate(pair for listed in layout.splits.values() for pair in listed.pairs):
        for kind, name, made in (("images", pair.id, ""), ("labels", f"{pair.id}_L", "_L")):
            (root / kind / f"{name}.png").symlink_to(root / "made" / f"{number % IMAGES}{made}.png")


def sbd_and_folder(source: Path, sbd: Path, folder: Path) -> None:
    """VOC's training pairs as SBD has them, and as a user might, with RGB masks and lists."""
    for path in (sbd / "img", sbd / "cls", folder / "images", folder / "labels"):
        path.mkdir(parents=True)
    colors = np.array([voc_color(index) for index in range(256)], np.uint8)
    dataset = voc(root=source).checked("train")
    for index, pair in enumerate(dataset.pairs):
        labels = dataset.labels(index)
        savemat(
            sbd / "cls" / f"{pair.id}.mat",
            {"GTcls": {"Segmentation": np.where(labels == IGNORE, 0, labels)}},
            do_compression=True,
        )
        Image.fromarray(colors[labels]).save(folder / "labels" / f"{pair.id}.png")
        for images in (sbd / "img", folder / "images"):
            (images / f"{pair.id}.jpg").symlink_to(pair.image.resolve())
    names = "".join(f"{pair.id}\n" for pair in dataset.pairs)
    (sbd / "train.txt").write_text(names)
    (folder / "train.txt").write_text(names)
    (folder / "classes.yaml").write_text(classes_text(VOC_NAMES, PALETTE) + f"- ignored: {list(voc_color(IGNORE))}\n")


def experiment_of(data: str, transforms: str = "", batch: int = 1, workers: int = 0) -> RunConfig:
    text = CONFIG.format(data=data, transforms=transforms, batch=batch, workers=workers)
    return build.load_config([mapping_of(parse(text, "throughput"), "throughput")])[0]


def images_a_second(data: str, transforms: str, batch: int, workers: int) -> float:
    config = experiment_of(data, transforms, batch, workers)
    dataset = build.build_dataset(config, "train")
    model = build.build_model(config, len(dataset.class_names), restore=True)
    steps = iter(build.build_steps(config, model, dataset, first_step=0, device=torch.device("cpu")))
    next(steps)
    started, count = perf_counter(), 0
    while perf_counter() - started < SECONDS:
        count += sum(len(part.ids) for part in next(steps))
    return count / (perf_counter() - started)


def read_a_second(data: str) -> float:
    config, _ = build.load_config(
        [mapping_of(parse(CONFIG.format(data=data, transforms="", batch=1, workers=0), "throughput"), "")]
    )
    dataset = build.build_dataset(config, "train")
    started, count = perf_counter(), 0
    while perf_counter() - started < SECONDS:
        dataset[count % len(dataset)]
        count += 1
    return count / (perf_counter() - started)


def main() -> None:
    streets, devkit = (Path(each) for each in (*sys.argv[1:], *("data/CamVid", "data/VOCdevkit")[len(sys.argv) - 1 :]))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        full, sbd, folder = (Path(made) / name for name in ("full", "sbd", "folder"))
        full_camvid(streets, full)
        sbd_and_folder(devkit, sbd, folder)
        crop, small = (
            "scale: [0.5, 2.0], crop: [320, 320], color_jitter: 0.15",
            "input_scale: 0.5, scale: [0.6, 1.9], crop: [180, 240]",
        )
        for data, transforms, batch in (
            (f"name: camvid, root: {streets}", "", 4),
            (f"name: camvid, root: {streets}", f"{small}, color_jitter: 0.15", 4),
            (f"name: camvid_full, root: {full}", "", 4),
            (f"name: camvid_full, root: {full}, halve: true", "", 4),
            (f"name: voc, root: {devkit}", "", 1),
            (f"name: voc, root: {devkit}", crop, 4),
            (f"name: voc, root: {devkit}, sbd: {sbd}, train: sbd/train", crop, 4),
            (f"name: folder, root: {folder}", crop, 4),
            ("name: streets, size: [96, 128]", "", 4),
        ):
            rates = [read_a_second(data), *(images_a_second(data, transforms, batch, workers) for workers in (0, 2))]
            shown = "  ".join(f"{rate:6.0f}" for rate in rates)
            title = ", ".join(part for part in data.split(", ") if not part.startswith(("root", "sbd")))
            print(f"{title:<40}{transforms[:44] or 'whole images':<46}{shown}", flush=True)


if __name__ == "__main__":
    print(f"{'images a second':<86}  read  loaded  2 workers")
    main()
