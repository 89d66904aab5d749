"""Models and encoders of smp through the command line, from training to pictures, and through configs on top of one
another."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from segkit.data.datasets.streets import Streets

ROOT = Path(__file__).parents[2]
SMALL = "tu-test_efficientnet"
FCN = ["configs/streets/fcn8s.yaml", f"model.encoder={{name: smp, encoder: {SMALL}}}"]
UNET = ["configs/streets/smp_unet.yaml", f"model.whole.encoder={SMALL}"]


@pytest.fixture
def small(tiny):
    return [setting for setting in tiny if not setting.startswith("model.")]


@pytest.mark.parametrize(("model", "title"), [(UNET, f"smp-unet-{SMALL}"), (FCN, "fcn8s")])
def test_a_model_with_parts_of_smp_is_trained_scored_and_used_as_any_other(segkit, small, tmp_path, model, title):
    run = tmp_path / "run"
    code, out, errors = segkit("train", *model, *small, "--run", run)
    assert (code, errors) == (0, "")
    assert title in out
    result = json.loads((run / "result.json").read_text())
    assert result["decoder"] == title
    before = (run / "confusion_test.npz").read_bytes()
    assert segkit("evaluate", run)[0] == 0
    assert (run / "confusion_test.npz").read_bytes() == before
    Image.fromarray(Streets("test", size=(45, 61))[0].image).save(tmp_path / "scene.png")
    assert segkit("predict", run, tmp_path / "scene.png", "--out", tmp_path / "out")[0] == 0
    with Image.open(tmp_path / "out/scene.png") as labels:
        assert (labels.mode, labels.size) == ("P", (61, 45))
    assert "is finished; nothing was trained" in segkit("train", run / "config.yaml", "--run", run)[1]


def test_compare_calls_a_whole_model_by_its_parts(segkit, small, tmp_path):
    runs = [tmp_path / "unet", tmp_path / "fpn"]
    assert segkit("train", *UNET, *small, "training.epochs=1", "--run", runs[0])[0] == 0
    config = (shutil.copytree(*runs) / "config.yaml").read_text()  # names come from it
    (runs[1] / "config.yaml").write_text(config.replace("Unet", "FPN").replace(SMALL, "resnet18"))
    code, out, _ = segkit("compare", *runs, "--out", tmp_path / "out")
    assert code == 0
    rows = (tmp_path / "out/scores.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["smp-unet-tu-test_efficientnet", "smp-fpn-resnet18"]
    assert "smp-fpn-resnet18" in segkit("runs", tmp_path)[1]


def shown(segkit, *arguments):
    code, out, errors = segkit("show", *arguments)
    assert (code, errors) == (0, "")
    lines = (line.split("  # ")[0].strip() for line in out.splitlines())
    return {key: value for key, value in (line.split(" = ", 1) for line in lines) if key.startswith("model.")}


def test_a_whole_model_leaves_nothing_of_encoder_decoder_or_their_weights(segkit):
    found = shown(segkit, "configs/camvid/fcn8s.yaml", "model.whole={name: smp, architecture: FPN, encoder: resnet18}")
    assert found["model.whole.encoder"] == "'resnet18'"
    assert found["model.whole.weights"] == "null"
    assert not any(key.startswith(("model.decoder.", "model.encoder.")) for key in found)
    staged = ["configs/streets/fcn16s.yaml", "model.initialize_from=runs/fcn32s"]
    assert shown(segkit, *staged)["model.initialize_from"] == "'runs/fcn32s'"


def test_a_file_over_a_whole_model_may_name_a_decoder_instead(segkit, tmp_path):
    whole = tmp_path / "whole.yaml"
    whole.write_text(f"base: {ROOT}/configs/streets/smp_unet.yaml\nmodel: {{initialize_from: runs/a}}\n")
    assert shown(segkit, whole)["model.initialize_from"] == "'runs/a'"
    found = shown(segkit, whole, "model.encoder=vgg16", "model.decoder=segnet")
    names = [found[f"model.{key}"] for key in ("encoder.name", "decoder.name", "initialize_from")]
    assert names == ["'vgg16'", "'segnet'", "null"]


def test_a_pair_that_smp_refuses_ends_before_anything_is_written(segkit, small, tmp_path):
    pair = ["model.whole.architecture=Linknet", "model.whole.encoder=mit_b0"]
    code, _, errors = segkit("train", UNET[0], *small, *pair, "--run", tmp_path / "run")
    assert code == 2
    assert errors.startswith("segkit: model.whole.decoder_channels = [128, 64, 32, 16]: Linknet has no such option")
    assert not (tmp_path / "run").exists()


def test_the_ledger_counts_the_maps_that_a_decoder_of_smp_uses(segkit):
    code, out, _ = segkit("costs", "configs/streets/smp_unet.yaml", "--size", "96x128", "--json")
    (costs,) = json.loads(out)
    assert code == 0
    assert costs["name"] == "smp-unet-resnet18"
    # ResNet-18's maps of strides 2, 4 and 8 in float32; U-Net starts from the one of stride 16
    assert costs["kept_bytes"] == 4 * (64 * 48 * 64 + 64 * 24 * 32 + 128 * 12 * 16)
