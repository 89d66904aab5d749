"""A run in W&B, offline: read back with the SDK's own reader and compared with the run folder."""

import json

import numpy as np
import pytest
from PIL import Image
from same_runs import differences

from segkit.build import build_dataset, load_config
from segkit.tracking.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("no_wandb_settings")


def steps(run):
    """metrics.jsonl as curves, by step: written anew here."""
    rows, names = {}, RunDir(run).result()["class_names"]
    for record in RunDir(run).records():
        if record["kind"] in ("train", "validation"):
            row = rows.setdefault(record["step"], {})
            for key, value in record.items():
                if isinstance(value, float | int) and value is not None:
                    row[key if key in ("step", "epoch", "seconds") else f"{record['kind']}/{key}"] = value
            for name, value in zip(names, record.get("iou", []), strict=False):
                if value is not None:
                    row[f"validation_iou/{name}"] = value
    return rows


# --- what training gives does not depend on W&B ---


def test_a_run_is_the_one_without_it_and_two_names_in_its_folder(pair):
    assert [each for each in differences(*pair) if each != "config.yaml"] == []
    plain, tracked = ({path.name for path in run.iterdir()} for run in pair)
    assert tracked - plain == {"wandb", "wandb.json"}


# --- what W&B shows ---


def test_the_run_is_named_grouped_tagged_and_has_the_whole_config(pair, session):
    run = session.run
    named = [run[key] for key in ("display_name", "run_group", "job_type", "project")]
    assert named == ["streets-fcn8s", "four decoders", "train", "segkit"]
    assert set(run["tags"]) == {"FCN-8s", "seed 3", "streets"}
    assert run["run_id"] == json.loads((pair[1] / "wandb.json").read_text())["id"]
    assert (session.config["seed"], session.config["decoder"]) == (3, "fcn8s")
    assert session.config["training"]["batch_size"] == 4
    assert session.config["model"]["encoder"]["width"] == 0.0625


def test_curves_are_the_records_of_the_run_folder(pair, session):
    logged = {item["_step"]: item for item in session.history}
    rows = steps(pair[1])
    assert list(logged) == list(rows) == [1, 2, 3, 4, 5, 6]
    for step, row in rows.items():
        assert {key: logged[step][key] for key in row} == row
    assert [step for step, item in logged.items() if "validation/mean_iou" in item] == [2, 4, 6]
    assert [item["epoch"] for item in logged.values() if "epoch" in item] == [1, 2, 3]
    assert session.of("exit")[0].get("exit_code", 0) == 0


def test_every_curve_has_the_training_step_as_its_axis(session):
    axes = {metric.get("name") or metric["glob_name"]: metric.get("step_metric") for metric in session.of("metric")}
    assert axes["train/*"] == axes["validation/*"] == axes["validation_iou/*"] == axes["validation/mean_iou"] == "step"


def test_the_summary_has_the_best_validation_scores_the_lowest_loss_and_the_test_scores(pair, session):
    run = RunDir(pair[1])
    for key in ("mean_iou", "global_accuracy", "class_average_accuracy", "frequency_weighted_iou"):
        assert session.summary[f"validation/{key}"] == {"max": max(record[key] for record in run.records("validation"))}
        assert session.summary[f"test/{key}"] == run.result()["test"][key]
    assert session.summary["train/loss"] == {"min": min(record["loss"] for record in run.records("train"))}
    assert session.summary["best_step"] == run.result()["best_step"]
    assert session.summary["parameters"] == run.result()["parameters"]


def test_tables_hold_iou_and_accuracy_of_every_class(pair, session):
    run = RunDir(pair[1])
    result = run.result()
    best = next(record for record in run.records("validation") if record["step"] == result["best_step"])
    for key, scores in (("test/classes", result["test"]), ("validation/best_classes", best)):
        table = session.table(key)
        assert table["columns"] == ["class", "iou", "accuracy"]
        expected = zip(result["class_names"], scores["iou"], scores["accuracy"], strict=True)
        assert table["data"] == [list(row) for row in expected]


def test_the_confusion_chart_counts_every_pixel_and_its_rows_are_per_cent(pair, session):
    table = session.table("test/confusion_matrix_table")
    matrix, names = RunDir(pair[1]).matrices("test")[1].sum(0), RunDir(pair[1]).result()["class_names"]
    column = table["columns"].index
    found = {(row[column("Actual")], row[column("Predicted")]): row for row in table["data"]}
    for i, label in enumerate(names):
        assert [found[label, name][column("pixels")] for name in names] == matrix[i].tolist()
        shares = [found[label, name][column("nPredictions")] for name in names]
        assert sum(shares) == pytest.approx(100 if matrix[i].sum() else 0, abs=0.1)
    panel = session.config["_wandb.visualize.test/confusion_matrix"]["panel_config"]
    assert panel["panelDefId"] == "wandb/confusion_matrix/v1"


def test_masks_name_every_class_with_the_first_and_void(pair, session):
    config, _ = load_config(pair[1] / "config.yaml")
    dataset, last = build_dataset(config, "val"), session.history[-1]
    masks = last["predictions/masks.all_masks"]
    assert last["predictions/masks.captions"] == [dataset[0].id, dataset[2].id]
    for index, mask in zip((0, 2), masks, strict=True):
        with Image.open(session.folder / "files" / mask["ground_truth"]["path"]) as stored:
            values = np.asarray(stored)
        labels = dataset[index].labels
        np.testing.assert_array_equal(values, np.where(labels == 255, 0, labels.astype(int) + 1))
        with Image.open(session.folder / "files" / mask["prediction"]["path"]) as stored:
            assert np.asarray(stored).min() >= 1  # a prediction has no void
    names = session.config["_wandb"]["mask/class_labels"]
    expected = {"0": "void"} | {str(index): name for index, name in enumerate(dataset.class_names, start=1)}
    assert expected["1"] == "sky"
    for kind in ("prediction", "ground_truth"):
        assert names[f"predictions/masks_wandb_delimeter_{kind}"]["value"] == expected


def test_pictures_in_the_palette_show_image_labels_and_prediction_side_by_side(pair, session):
    config, _ = load_config(pair[1] / "config.yaml")
    dataset = build_dataset(config, "val")
    names = session.history[-1]["predictions/palette.filenames"]
    assert len(names) == 2
    with Image.open(session.folder / "files" / names[0]) as stored:
        picture = np.asarray(stored.convert("RGB"))
    assert picture.shape == (32, 3 * 48, 3)
    np.testing.assert_array_equal(picture[:, :48], dataset[0].image)
    void = dataset[0].labels == 255
    np.testing.assert_array_equal(picture[:, 48:96][void], dataset[0].image[void])


def test_the_best_weights_are_an_artifact_with_aliases(pair, session):
    (artifact,) = [artifact for artifact in session.of("artifact") if artifact["type"] == "model"]
    result = RunDir(pair[1]).result()
    assert artifact["name"] == f"model-{session.run['run_id']}"
    assert sorted(artifact["aliases"]) == ["best", "latest"]
    files = artifact["manifest"]["contents"]
    assert [file["path"] for file in files] == ["best.safetensors", "classes.yaml", "config.yaml"]
    assert files[0]["local_path"] == str(pair[1] / "checkpoints/best.safetensors")
    metadata = json.loads(artifact["metadata"])
    assert (metadata["best_step"], metadata["test_mean_iou"]) == (result["best_step"], result["test"]["mean_iou"])


def test_what_waits_for_its_upload_is_in_the_run_folder(pair, session):
    files = [file["local_path"] for artifact in session.of("artifact") for file in artifact["manifest"]["contents"]]
    assert len(files) == 6
    assert all(file.startswith(str(pair[1])) for file in files)
