"""`segkit import-caffe`, end to end: from the bytes of a Caffe net to scores and pictures."""

from pathlib import Path

import pytest
import torch
from caffe_writer import classifier_layers, layers_of, write
from PIL import Image
from safetensors.torch import load_file

from segkit.build import build_model, load_config
from segkit.data.datasets.streets import Streets

BASE = Path(__file__).parents[2] / "configs" / "base" / "training.yaml"


@pytest.fixture
def config(tmp_path):
    """A config whose net is small and whose images are those that Caffe's nets take."""
    path = tmp_path / "small.yaml"
    path.write_text(
        f"base: {BASE}\nname: small\n"
        "loss: {class_weights: none}\noptimizer: {name: caffe_sgd, lr: 0.01}\nschedule: constant\n"
        "data: {name: streets, size: [32, 48], train_images: 8, val_images: 3, test_images: 4}\n"
        "model:\n  encoder: {name: vgg16, width: 0.0625, normalization: fcn}\n  decoder: {name: fcn8s, head_width: 16}\n"
        "training: {epochs: 1, batch_size: 4}\n"
    )
    return path


@pytest.fixture
def trained(config):
    """A model of that config with weights of its own everywhere."""
    run_config, _ = load_config(config)
    model = build_model(run_config, 11)
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def caffemodel(trained, tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(write(layers_of(trained)))
    return path


def test_an_imported_net_can_be_scored_and_labels_images(segkit, config, caffemodel, trained, tmp_path):
    out = tmp_path / "new" / "net.safetensors"
    code, printed, errors = segkit("import-caffe", caffemodel, "--config", config, "--out", out)
    assert (code, errors) == (0, "")
    assert printed.splitlines() == [
        f"{out}: {len(trained.state_dict())} tensors",
        "not needed, or equal already: upscore2, upscore_pool4, upscore8",  # fixed here: compared, not copied
    ]
    imported = load_file(out)
    assert all(torch.equal(imported[name], tensor) for name, tensor in trained.state_dict().items())

    code, printed, errors = segkit("evaluate", config, "--weights", out)
    assert (code, errors) == (0, "")
    assert "test, 4 images" in printed

    Image.fromarray(Streets("test", size=(45, 61))[0].image).save(tmp_path / "scene.png")
    assert segkit("predict", config, tmp_path / "scene.png", "--weights", out, "--out", tmp_path / "labelled")[0] == 0
    with Image.open(tmp_path / "labelled/scene.png") as labels:
        assert labels.size == (61, 45)


def test_a_classification_net_starts_a_training(segkit, config, trained, tmp_path):
    file, out = tmp_path / "vgg.caffemodel", tmp_path / "vgg.safetensors"
    file.write_bytes(write(classifier_layers(trained)))
    code, printed, _ = segkit("import-caffe", file, "--config", config, "--out", out, "--backbone-only")
    assert code == 0
    assert "kept initial values: decoder.score_fr, decoder.score_pool4, decoder.score_pool3" in printed
    assert "not needed, or equal already: fc8" in printed
    assert segkit("train", config, f"model.initialize_from={out}", "--run", tmp_path / "run")[0] == 0


def test_an_input_that_the_released_nets_do_not_have_is_pointed_out_and_another_refused(
    segkit, config, caffemodel, tmp_path
):
    raw, released = ("--set", "model.encoder.normalization=raw"), "warnings: the released FCN nets were trained with "
    printed = segkit("import-caffe", caffemodel, "--config", config, "--out", tmp_path / "raw.safetensors", *raw)[1]
    assert f"{released}model.encoder.normalization=fcn" in printed
    out = tmp_path / "net.safetensors"
    assert released not in segkit("import-caffe", caffemodel, "--config", config, "--out", out)[1]
    code, _, errors = segkit("evaluate", config, "--weights", out, *raw)
    assert code == 2
    assert "was trained with input 'fcn', this model expects 'raw'" in errors


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "net.caffemodel"),
        (lambda path: path.write_bytes(b"<html>404</html>"), "net.caffemodel"),
    ],
    ids=["missing", "truncated", "a web page"],
)
def test_a_file_that_is_no_caffe_net_is_refused_and_nothing_is_written(
    segkit, config, caffemodel, tmp_path, spoil, message
):
    spoil(caffemodel)
    code, _, errors = segkit("import-caffe", caffemodel, "--config", config, "--out", tmp_path / "net.safetensors")
    assert code == 2
    assert errors.startswith("segkit: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "net.safetensors").exists()


def test_a_file_that_exists_is_not_overwritten(segkit, config, caffemodel, tmp_path):
    out = tmp_path / "net.safetensors"
    out.write_bytes(b"precious")
    code, _, errors = segkit("import-caffe", caffemodel, "--config", config, "--out", out)
    assert (code, out.read_bytes()) == (2, b"precious")
    assert f"--out {out} exists; nothing was written" in errors
    code, _, errors = segkit("import-caffe", caffemodel, "--config", config, "--out", tmp_path / "net.bin")
    assert code == 2
    assert "expected a file ending in .safetensors" in errors


def test_a_config_without_weights_is_not_evaluated(segkit, config):
    code, _, errors = segkit("evaluate", config)
    assert code == 2
    assert f"{config} is a file; expected a run folder, or a config together with --weights FILE." in errors


def test_weights_that_hold_statistics_get_no_others(segkit, config, tmp_path):
    out = tmp_path / "net.safetensors"
    segnet = ("model.encoder.batch_norm=caffe", "model.encoder.normalization=raw", "model.decoder=segnet")
    model = build_model(load_config(config, segnet)[0], 11)
    (tmp_path / "segnet.caffemodel").write_bytes(write(layers_of(model)))
    changes = [argument for setting in segnet for argument in ("--set", setting)]
    assert segkit("import-caffe", tmp_path / "segnet.caffemodel", "--config", config, "--out", out, *changes)[0] == 0
    command = ("bn-statistics", config, "--weights", out, "--out", tmp_path / "other.safetensors")
    code, _, errors = segkit(*command, *changes)
    assert code == 2
    assert "comes from Caffe with its statistics absorbed" in errors


def test_neither_import_nor_prediction_needs_the_dataset(segkit, config, caffemodel, tmp_path):
    out, elsewhere = tmp_path / "net.safetensors", ("--set", f"data={{name: camvid, root: {tmp_path / 'nowhere'}}}")
    Image.fromarray(Streets("test", size=(45, 61))[0].image).save(tmp_path / "scene.png")
    assert segkit("import-caffe", caffemodel, "--config", config, "--out", out, *elsewhere)[0] == 0
    command = ("predict", config, tmp_path / "scene.png", "--weights", out, "--out", tmp_path / "labelled")
    assert segkit(*command, *elsewhere)[0] == 0
    assert (tmp_path / "labelled/scene.png").is_file()
