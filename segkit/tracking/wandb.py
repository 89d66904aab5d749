"""A run in Weights & Biases: each run folder has one W&B run, which holds the content of metrics.jsonl and no more."""

import gc
import json
import math
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from subprocess import Popen
from threading import Thread
from typing import Any, Literal

import numpy as np
import wandb
from wandb.plot.custom_chart import CustomChart

from segkit.errors import InputError
from segkit.system.files import write_text
from segkit.tracking.run_dir import CLASSES, CONFIG, WANDB, WANDB_ID, RunDir
from segkit.tracking.tracker import Picture, Tracker

INIT_SECONDS, FINISH_SECONDS = 20.0, 300.0  # defaults of WANDB_INIT_TIMEOUT and WANDB_FINISH_TIMEOUT
SCORES = ("mean_iou", "global_accuracy", "class_average_accuracy", "frequency_weighted_iou")


@dataclass(frozen=True)
class About:
    """Description of a run that W&B shows before there are scores."""

    name: str
    group: str | None  # the experiment that it belongs to
    tags: tuple[str, ...]  # at most 64 characters of each are used
    config: dict[str, Any]  # nested plain values
    class_names: tuple[str, ...]
    project: str  # of a new run; one that W&B already has keeps its own
    entity: str | None
    mode: Literal["online", "offline"]


class WandbTracker(Tracker):
    """One session of a W&B run. It first logs all of metrics.jsonl, so each session is complete by itself.

    W&B's own step is the training step. Online, the SDK drops steps up to the last one that the server has, so logging
    a run twice changes nothing. The records of a step are sent together, when a later step begins or the run ends
    successfully. The run folder holds one session; the next one replaces it.

    Raises:
        Exception: of any kind, from any method: use it within `Guarded`.
    """

    def __init__(self, run: RunDir, about: About):
        self.run, self.about = run, about
        self.row: dict[str, Any] = {}  # of the current step
        self.finish_seconds = float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_SECONDS))
        folder = run.path / WANDB
        self.data_folder = os.environ.get("WANDB_DATA_DIR")
        os.environ["WANDB_DATA_DIR"] = self.data_folder or str(folder.resolve())  # tables wait there until uploaded
        hooks = sys.exit, sys.excepthook
        try:
            try:
                self.session = self._start()
            finally:
                sys.exit, sys.excepthook = hooks  # W&B installs its own
            self._define_metrics()
            for record in run.records():
                self.write(record["kind"], record)
        except BaseException:
            self._stop()
            raise
        self.place = self.session.url or str(folder / os.path.basename(os.path.dirname(self.session.dir)))

    def _start(self) -> wandb.Run:
        wandb.setup(settings=wandb.Settings(silent=True))
        if self.about.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise InputError("there is no W&B login; run 'wandb login', or set WANDB_API_KEY")
        folder = self.run.path / WANDB
        shutil.rmtree(folder, ignore_errors=True)  # an earlier session; everything is logged again
        folder.mkdir(exist_ok=True)
        run_id, project, entity = self._identity()
        settings = wandb.Settings(
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_SECONDS)),
            finish_timeout=self.finish_seconds,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
        )
        return wandb.init(
            id=run_id,
            project=project,
            entity=entity,
            dir=str(self.run.path),
            mode=self.about.mode,
            resume="allow",
            reinit="create_new",  # else the next run could continue the wandb.run of a failed one
            name=self.about.name,
            group=self.about.group,
            job_type="train",
            tags=[tag[:64] for tag in self.about.tags],
            config=self.about.config,
            settings=settings,
        )

    def _identity(self) -> tuple[str, str, str | None]:
        """Return id, project and entity of the folder's W&B run; a new run takes those of a sweep's agent."""
        path = self.run.path / WANDB_ID
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            return known["id"], known["project"], known["entity"]
        sweep = "WANDB_SWEEP_ID" in os.environ
        run_id = os.environ.pop("WANDB_RUN_ID", None) or secrets.token_hex(4)  # an agent's id is for one run
        project = (os.environ.get("WANDB_PROJECT") if sweep else None) or self.about.project
        entity = (os.environ.get("WANDB_ENTITY") if sweep else None) or self.about.entity
        write_text(path, json.dumps({"id": run_id, "project": project, "entity": entity}) + "\n")
        return run_id, project, entity

    def _define_metrics(self) -> None:
        """Define the axes, and the value of each curve that summarizes the run."""
        self.session.define_metric("step", hidden=True)
        self.session.define_metric("train/*", step_metric="step")
        self.session.define_metric("train/loss", step_metric="step", summary="min")
        self.session.define_metric("validation/*", step_metric="step")
        self.session.define_metric("validation_iou/*", step_metric="step", summary="max")
        for key in SCORES:
            self.session.define_metric(f"validation/{key}", step_metric="step", summary="max")

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Add a record of training or validation to the row of its step."""
        if kind not in ("train", "validation"):
            return
        if self.row and record["step"] != self.row["step"]:
            self._send_row()
        common = ("kind", "step", "epoch", "seconds")
        values = {f"{kind}/{key}": value for key, value in record.items() if key not in common}
        values |= {"step": record["step"], "seconds": record["seconds"]}
        if kind == "validation":
            values["epoch"] = record["epoch"]
            classes = zip(self.about.class_names, record["iou"], strict=True)
            values |= {f"validation_iou/{name}": iou for name, iou in classes}
        self.row |= {k: value for k, value in values.items() if isinstance(value, int | float) and math.isfinite(value)}

    def _send_row(self) -> None:
        if self.row:
            self.session.log(self.row, step=self.row["step"], commit=True)
        self.row = {}

    def conclude(self, pictures: Callable[[], Sequence[Picture]]) -> None:
        """Log the test scores, tables, pictures and best weights of a finished run."""
        drawn, names, result = pictures(), self.about.class_names, self.run.result()
        test = result["test"]
        self.row["test/classes"] = _class_table(names, test)
        self.row["test/confusion_matrix"] = _confusion_chart(names, self.run.matrices("test")[1].sum(0))
        best = [record for record in self.run.records("validation") if record["step"] == result["best_step"]]
        if best:
            self.row["validation/best_classes"] = _class_table(names, best[-1])
        if drawn:
            self.row["predictions/masks"] = [_masked_image(picture, names) for picture in drawn]
            self.row["predictions/palette"] = [wandb.Image(each.composed, caption=each.name) for each in drawn]
        scores = {f"test/{key}": test[key] for key in (*SCORES, "classes_averaged")}
        about = {key: result[key] for key in ("parameters", "best_step", "best_validation_mean_iou")}
        self.session.summary.update(scores | about)

        keys = ("name", "decoder", "config_hash", "best_step", "best_validation_mean_iou")
        metadata = {key: result[key] for key in keys} | {"test_mean_iou": test["mean_iou"]}

        def log_weights() -> None:
            artifact = wandb.Artifact(f"model-{self.session.id}", type="model", metadata=metadata)
            for file in (self.run.best_weights, self.run.path / CONFIG, self.run.path / CLASSES):
                artifact.add_file(str(file), policy="immutable", skip_cache=True)  # uploaded without a copy
            self.session.log_artifact(artifact, aliases=["latest", "best"])

        _within(self.finish_seconds, log_weights)  # waits for the server

    def close(self, exit_code: int) -> None:
        """End the session (exit code 0: the run is complete) and wait for the upload, at most for `finish_timeout`.

        Raises:
            TimeoutError: if the upload is not complete by then.
        """
        try:
            if exit_code == 0:
                self._send_row()
            _within(self.finish_seconds + 5, lambda: self.session.finish(exit_code=exit_code))
        finally:
            self._stop()

    def _stop(self) -> None:
        """End W&B's service process, so that it does not outlive this process."""
        with suppress(Exception, SystemExit):
            _within(10, wandb.teardown)
        _kill_services()
        if self.data_folder is None:
            os.environ.pop("WANDB_DATA_DIR", None)


def _kill_services() -> None:
    """Kill W&B's service process, which all sessions of this process share; W&B has no public function for that."""
    for process in [each for each in gc.get_objects() if type(each) is Popen]:
        program = str(process.args[0]) if isinstance(process.args, list) else ""
        if os.path.basename(program).startswith("wandb-core"):
            process.kill()
            process.wait()


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Run `call` in a thread; if it hangs, kill W&B's service, because everything that waits for it would hang too.

    Raises:
        TimeoutError: if the call took longer than `seconds`.
        BaseException: any error that the call raised.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _kill_services()
        raise TimeoutError(f"W&B did not answer within {seconds:.0f} s")
    if raised:
        raise raised[0]


def _class_table(class_names: Sequence[str], scores: dict[str, Any]) -> wandb.Table:
    """Return a table of the IoU and accuracy of each class, 0..1; empty where a class does not occur."""
    rows = zip(class_names, scores["iou"], scores["accuracy"], strict=True)
    data: list[Any] = [
        [name, *(None if value is None or math.isnan(value) else value for value in values)] for name, *values in rows
    ]
    return wandb.Table(columns=["class", "iou", "accuracy"], data=data)


def _confusion_chart(class_names: Sequence[str], matrix: np.ndarray) -> CustomChart:
    """Return W&B's chart of a confusion matrix [K, K] (rows = label), in per cent of the label's pixels.

    wandb.plot.confusion_matrix needs a pair of class ids for every pixel; this builds the table that it would make.
    """
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    data: list[Any] = [
        [label, predicted, round(float(shares[i, j]), 2), int(matrix[i, j])]
        for i, label in enumerate(class_names)
        for j, predicted in enumerate(class_names)
    ]
    return wandb.plot_table(
        data_table=wandb.Table(columns=["Actual", "Predicted", "nPredictions", "pixels"], data=data),
        vega_spec_name="wandb/confusion_matrix/v1",
        fields={"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
        string_fields={"title": "test, per cent of the label's pixels"},
    )


def _masked_image(picture: Picture, class_names: Sequence[str]) -> wandb.Image:
    """Return the image with masks of prediction and label that can be switched on and off, in W&B's colours.

    A mask holds class id + 1, and 0 is void, because W&B's viewer has not shown the id 0 (wandb #977).
    """
    names = {0: "void"} | dict(enumerate(class_names, start=1))
    masks = {
        key: {"mask_data": labels + np.uint8(1), "class_labels": names}  # 255 becomes 0
        for key, labels in (("prediction", picture.predicted), ("ground_truth", picture.labels))
    }
    return wandb.Image(picture.image, masks=masks, caption=picture.name)
