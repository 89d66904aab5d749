"""Equal treatment: what members of an experiment have in common is computed, and what differs is named."""

import pytest

from segkit.build import build_model
from segkit.engine.checkpoint import save_weights
from segkit.experiments.experiment import read_experiment
from segkit.experiments.treatment import check_treatment

WEIGHTS = "weights at the start ({} tensors that two or more share by name and shape)"
SAMPLES, IMAGES = "samples of every step", "augmented images and labels of the first step"


@pytest.fixture
def treatment(tiny_config, tmp_path):
    """What members with these axes have in common."""
    (tmp_path / "base.yaml").write_text(tiny_config)

    def check(axes: str):
        (tmp_path / "experiment.yaml").write_text(f"name: trial\nbase: base.yaml\naxes: {axes}\n")
        return check_treatment(read_experiment(tmp_path / "experiment.yaml"))

    return check


def test_decoders_of_one_seed_see_the_same_images_in_the_same_order_from_the_same_weights(treatment):
    narrow = "{model: {decoder: {name: fcn32s, head_width: 16}}}"
    decoders = f"{{fcn32s: {narrow}, fcn8s: {{}}, segnet: {{model: {{decoder: segnet}}}}}}"
    found = treatment(f"{{decoder: {decoders}, seed: [4, 5]}}")
    assert found.methods == ("fcn32s", "fcn8s", "segnet")
    assert found.different == {}
    assert found.equal[1:3] == (SAMPLES, IMAGES)
    # 13 convolutions of VGG16 with their biases; fc6, fc7 and score_fr of both FCNs; SegNet's decoder shares none
    assert WEIGHTS.format(2 * 13 + 2 * 3) in found.equal
    assert found.settings["model.decoder.name"] == ("'fcn32s'", "'fcn8s'", "'segnet'")
    assert not any(key.split(".")[0] in ("data", "training", "optimizer") for key in found.settings)


@pytest.mark.parametrize(
    ("change", "different"),
    [
        ("training: {batch_size: 2}", {SAMPLES, IMAGES}),
        ("training: {epochs: 3}", {SAMPLES}),
        ("transforms: {color_jitter: 0.5}", {IMAGES}),
        ("data: {seed: 1}", {IMAGES}),
        ("seed: 9", set()),
    ],
    ids=["batch size", "epochs", "augmentation", "data", "another seed is another group"],
)
def test_unequal_treatment_is_named(treatment, change, different):
    found = treatment(f"{{decoder: {{a: {{}}, b: {{}}, c: {{{change}}}}}}}")
    assert set(found.different) == different
    assert all(alike == ("a", "b") for alike in found.different.values())
    lines = "\n".join(found.lines())
    assert all(f"NOT EQUAL: {name}; as in a: b" in lines for name in different)


def test_an_option_that_only_one_decoder_kept_from_the_base_is_named(treatment):
    found = treatment("{decoder: [fcn8s, segnet]}")
    assert ("model.decoder.head_width", "16", "-") in found.rows()


def test_other_starting_weights_are_named(treatment, tmp_path):
    treatment("{decoder: [fcn8s], seed: [7]}")
    found = read_experiment(tmp_path / "experiment.yaml")
    save_weights(tmp_path / "other.safetensors", build_model(found[0].config, 11), metadata={})
    pretrained = f"{{model: {{initialize_from: {tmp_path / 'other.safetensors'}}}}}"
    different = treatment(f"{{decoder: {{a: {{}}, b: {{}}, c: {pretrained}}}}}").different
    assert list(different.values()) == [("a", "b")]
    assert next(iter(different)).startswith("weights at the start")


def test_one_member_has_nothing_to_be_compared_with(treatment):
    found = treatment("{seed: [0]}")
    assert (found.lines(), found.rows()) == ([], [])
