"""A config that the tests of configs start from."""

from pathlib import Path

BASE = """\
name: run
data: {name: folder, root: images}
model:
  encoder: plain
  decoder: {name: fcn8s, width: 64}
loss: {function: plain, class_weights: plain}
optimizer:
  name: sgd
  lr: 1e-3
schedule: plain
training: {epochs: 3}
"""


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
