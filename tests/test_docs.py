"""What the documentation shows works: its examples run, its commands and files exist."""

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import typer.main

from segkit.build import TABLES
from segkit.cli.app import app
from segkit.models import geometry
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
EXTENDING = (ROOT / "docs/extending.md").read_text()


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """The files of docs/extending.md in a folder that can be imported from; imports one by name."""
    if not hasattr(geometry, "LayerPath"):  # its name before the nets were rewritten: drop these two lines then
        monkeypatch.setattr(geometry, "LayerPath", geometry.Path, raising=False)
    for name, text in re.findall(r"```(?:python|yaml)\n# (\w+\.\w+)\n(.*?)```", EXTENDING, re.DOTALL):
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for path in tmp_path.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return import_module


def test_the_decoder_of_the_docs_gives_logits_at_image_size_and_a_gradient_to_each_parameter(examples):
    encoder = VGG16(width=0.0625)
    model = Segmenter(encoder, examples("unet").DECODERS["unet"](encoder.stages, 5, width=4))
    for size in [(1, 1), (33, 50), (64, 64)]:
        assert model.eval()(torch.zeros(2, 3, *size)).shape == (2, 5, *size)
    model.train()(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_encoder_of_the_docs_serves_decoders_of_segkit_and_of_the_docs(examples):
    encoder = examples("small").ENCODERS["small"](channels=8)
    assert encoder.stages.strides == (2, 4, 8, 16, 32)
    for make in (TABLES["model.decoder"]["segnet"], TABLES["model.decoder"]["fcn8s"], examples("unet").UNet):
        model = Segmenter(encoder, make(encoder.stages, 3)).eval()
        assert model(torch.zeros(1, 3, 40, 56)).shape == (1, 3, 40, 56)


def test_the_loss_of_the_docs_leaves_void_out_and_does_not_depend_on_how_a_batch_is_cut(examples):
    loss = examples("brier").LOSSES["brier"](torch.tensor([1.0, 2.0, 0.5]))
    logits, labels = torch.randn(4, 3, 5, 6), torch.randint(0, 3, (4, 5, 6))
    labels[:, 0] = 255
    weights = torch.tensor([1.0, 2.0, 0.5])[labels[:, 1:]]
    error = (logits.softmax(1)[:, :, 1:] - torch.eye(3)[labels[:, 1:]].movedim(-1, 1)).square().sum(1)
    whole = loss.total(logits, labels) / loss.normalizer(labels)
    torch.testing.assert_close(whole, (error * weights).mean())
    halves = [(logits[:2], labels[:2]), (logits[2:], labels[2:])]
    totals, normalizers = sum(loss.total(*half) for half in halves), sum(loss.normalizer(y) for _, y in halves)
    torch.testing.assert_close(totals / normalizers, whole)
    void = torch.full_like(labels, 255)
    assert loss.total(logits, void) / loss.normalizer(void) == 0


def test_the_dataset_of_the_docs_gives_samples_with_labels_of_its_classes(examples):
    splits = [examples("stripes").DATASETS["stripes"](split, images=3) for split in ("train", "val", "test")]
    for dataset in splits:
        for index in range(len(dataset)):
            sample = dataset[index]
            assert (sample.image.shape, sample.labels.shape) == ((32, 48, 3), (32, 48))
            assert set(sample.labels.ravel().tolist()) == {0, 1, 255}
            assert (sample.labels == dataset.labels(index)).all()
    assert len({dataset.fingerprint() for dataset in splits}) == 3


def test_a_config_that_names_the_examples_trains_is_evaluated_and_costed(segkit, examples, tmp_path):
    pytest.importorskip("segkit.config.plugins")
    names = ["unet.py", "brier.py", "stripes.py", "small.py"]
    config = tmp_path / "all.yaml"
    config.write_text(f"""
plugins: [{", ".join(names)}]
name: all
data: {{name: stripes, images: 4}}
model: {{encoder: {{name: small, channels: 4}}, decoder: {{name: unet, width: 2}}}}
loss: {{function: brier, class_weights: median_frequency}}
optimizer: {{name: adamw, lr: 0.001}}
schedule: constant
training: {{epochs: 1, batch_size: 2}}
""")
    code, out, errors = segkit("train", config, "--run", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert "mean IoU" in out
    assert segkit("evaluate", tmp_path / "run", "--split", "val")[::2] == (0, "")
    assert segkit("costs", config)[::2] == (0, "")


def commands():
    """(page, words) of each command line of segkit that a page shows."""
    for page in PAGES:
        for line in re.findall(r"^    (?:.* -- )?segkit (.*)$", page.read_text(), re.MULTILINE):
            yield pytest.param(shlex.split(line, comments=True), id=f"{page.stem}: {line[:50]}")


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_that_a_page_shows_has_these_options(words):
    command = typer.main.get_command(app)
    options = [each for each in words if each.startswith("--")]
    while hasattr(command, "commands"):
        word = next(each for each in words if not each.startswith("--"))
        words = words[words.index(word) + 1 :]
        options = [each for each in words if each.startswith("--")]
        command = command.commands[word]
    assert set(options) <= {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page):
    places = re.findall(r"(?<![\w./])(?:configs|experiments|segkit|tests|notebooks)/[\w./-]*\w", page.read_text())
    assert [place for place in places if "NAME" not in place and not (ROOT / place).exists()] == []


def test_the_list_of_components_is_complete():
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/configs.md").read_text()))
    assert {name for table in TABLES.values() for name in table} - named == set()
