"""Draw docs/images/decoders.png: test images of Streets, their labels, and the predictions of three decoders.

Remake it:  make demo && .venv/bin/python docs/figure.py runs/demo docs/images/decoders.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from segkit import build
from segkit.viz.side_by_side import side_by_side

DECODERS = {"FCN-32s": "fcn32s", "FCN-8s": "fcn8s", "SegNet": "segnet"}
IMAGES = (33, 17)  # of the test split

runs, out = map(Path, sys.argv[1:])
loaded = build.load_config(runs / "fcn8s/config.yaml")
dataset = build.build_dataset(loaded[0], "test")
rows = []
for sample in (dataset[index] for index in IMAGES):
    files = {title: runs / name / "predictions/test" / f"{sample.id}.png" for title, name in DECODERS.items()}
    rows.append((sample.image, sample.labels, {title: np.array(Image.open(file)) for title, file in files.items()}))
figure = side_by_side(rows, class_names=dataset.class_names, palette=dataset.palette)
figure.savefig(out, dpi=100)
Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)  # a third of the size
