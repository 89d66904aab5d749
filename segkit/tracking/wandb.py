"""A run in Weights & Biases: the same one for each run folder, always the whole of metrics.jsonl, and never more than
that."""

import json
import math
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from subprocess import Popen
from threading import Thread
from typing import Any, Literal

import wandb
from wandb.sdk import wandb_setup

from segkit.errors import InputError
from segkit.system.files import write_text
from segkit.tracking.run_dir import WANDB, WANDB_ID, RunDir
from segkit.tracking.tracker import Outcome
from segkit.tracking.wandb_media import class_table, confusion_chart, masked_image

INIT_SECONDS, FINISH_SECONDS = 20.0, 300.0  # unless WANDB_INIT_TIMEOUT and WANDB_FINISH_TIMEOUT say otherwise
SCORES = ("mean_iou", "global_accuracy", "class_average_accuracy", "frequency_weighted_iou")


@dataclass(frozen=True)
class About:
    """What W&B shows of a run before it has a score.

    Attributes:
        name: of the run; `group`: of the experiment that it belongs to.
        tags: at most 64 characters of each are used.
        config: nested plain values.
        project, entity: where a new run goes; a run that W&B knows stays where it is.
        mode: online or offline.
    """

    name: str
    group: str | None
    tags: tuple[str, ...]
    config: dict[str, Any]
    class_names: tuple[str, ...]
    project: str
    entity: str | None
    mode: Literal["online", "offline"]


class WandbTracker:
    """One session of a W&B run. It starts by telling all that metrics.jsonl holds, so each session is complete by
    itself.

    W&B's own step is the training step. Online, the SDK drops steps up to the last one that the server has, so telling
    a run twice changes nothing. What belongs to one step is sent in one piece, when a later step comes or the run ends
    well. The run folder holds
    one session: the next one replaces it.

    Raises:
        Exception: of any kind, from any method: use it within `Guarded`.
    """

    def __init__(self, run: RunDir, about: About):
        self.run, self.about = run, about
        self.row: dict[str, Any] = {}
        self.service: Popen[bytes] | None = None
        self.finish_seconds = float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_SECONDS))
        folder = run.path / WANDB
        self.data_folder = os.environ.get("WANDB_DATA_DIR")
        os.environ["WANDB_DATA_DIR"] = self.data_folder or str(folder.resolve())  # tables wait there for their upload
        try:
            with _hooks_kept():
                self.session = self._start()
            self.service = _service()
            self._define()
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
        shutil.rmtree(folder, ignore_errors=True)  # an earlier session: all of it is told again
        folder.mkdir(exist_ok=True)
        run_id, project, entity = self._known()
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
            reinit="create_new",  # not the wandb.run of this process, which a failure would leave there for the next run
            name=self.about.name,
            group=self.about.group,
            job_type="train",
            tags=[tag[:64] for tag in self.about.tags],
            config=self.about.config,
            settings=settings,
        )

    def _known(self) -> tuple[str, str, str | None]:
        """Id, project and entity of the run folder's W&B run; a new one takes those that a sweep's agent gave."""
        path = self.run.path / WANDB_ID
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            return known["id"], known["project"], known["entity"]
        sweep = "WANDB_SWEEP_ID" in os.environ
        run_id = os.environ.pop("WANDB_RUN_ID", None) or secrets.token_hex(4)  # an agent's id is for one run
        project = (os.environ.get("WANDB_PROJECT") if sweep else None) or self.about.project
        entity = (os.environ.get("WANDB_ENTITY") if sweep else None) or self.about.entity
        text = json.dumps({"id": run_id, "project": project, "entity": entity}) + "\n"
        write_text(path, text)
        return run_id, project, entity

    def _define(self) -> None:
        """Axes, and which value of a curve is the run's."""
        self.session.define_metric("step", hidden=True)
        self.session.define_metric("train/*", step_metric="step")
        self.session.define_metric("train/loss", step_metric="step", summary="min")
        self.session.define_metric("validation/*", step_metric="step")
        self.session.define_metric("validation_iou/*", step_metric="step", summary="max")
        for key in SCORES:
            self.session.define_metric(f"validation/{key}", step_metric="step", summary="max")

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Adds a record of training or validation to the row of its step."""
        if kind not in ("train", "validation"):
            return
        if self.row and record["step"] != self.row["step"]:
            self._send()
        values = {
            f"{kind}/{key}": value for key, value in record.items() if key not in ("kind", "step", "epoch", "seconds")
        }
        if kind == "validation":
            values["epoch"] = record["epoch"]
            values |= {
                f"validation_iou/{name}": iou for name, iou in zip(self.about.class_names, record["iou"], strict=True)
            }
        values |= {"step": record["step"], "seconds": record["seconds"]}
        self.row |= {
            key: value for key, value in values.items() if isinstance(value, int | float) and math.isfinite(value)
        }

    def _send(self) -> None:
        if self.row:
            self.session.log(self.row, step=self.row["step"], commit=True)
        self.row = {}

    def conclude(self, outcome: Callable[[], Outcome]) -> None:
        """Tells the test scores, tables, pictures and best weights of a finished run."""
        found, names = outcome(), self.about.class_names
        result, test = found.result, found.result["test"]
        media: dict[str, Any] = {
            "test/classes": class_table(names, test),
            "test/confusion_matrix": confusion_chart(names, found.matrix),
        }
        best = [record for record in self.run.records("validation") if record["step"] == result["best_step"]]
        if best:
            media["validation/best_classes"] = class_table(names, best[-1])
        if found.pictures:
            media["predictions/masks"] = [masked_image(picture, names) for picture in found.pictures]
            media["predictions/palette"] = [
                wandb.Image(picture.composed, caption=picture.name) for picture in found.pictures
            ]
        self.row |= media
        scores = {f"test/{key}": test[key] for key in (*SCORES, "classes_averaged")}
        about = {key: result[key] for key in ("parameters", "best_step", "best_validation_mean_iou")}
        self.session.summary.update(scores | about)
        _within(self.finish_seconds, lambda: self._log_weights(found), self.service)  # asks the server

    def _log_weights(self, found: Outcome) -> None:
        keys = ("name", "decoder", "config_hash", "best_step", "best_validation_mean_iou")
        metadata = {key: found.result[key] for key in keys} | {"test_mean_iou": found.result["test"]["mean_iou"]}
        artifact = wandb.Artifact(f"model-{self.session.id}", type="model", metadata=metadata)
        for file in found.files:
            artifact.add_file(str(file), policy="immutable", skip_cache=True)  # sent from where they lie
        self.session.log_artifact(artifact, aliases=["latest", "best"])

    def close(self, exit_code: int) -> None:
        """Ends the session; 0: the run is complete. Waits for the upload, but no longer than `finish_timeout`.

        Raises:
            TimeoutError: if not all was sent by then.
        """
        try:
            if exit_code == 0:
                self._send()
            _within(self.finish_seconds + 5, lambda: self.session.finish(exit_code=exit_code), self.service)
        finally:
            self._stop()

    def _stop(self) -> None:
        """Ends W&B's service process, so that nothing of it is left at the exit of this process."""
        service = self.service or _service()
        with suppress(Exception, SystemExit):
            _within(10, wandb.teardown, service)
        if service is not None:
            service.kill()
            service.wait()
        if self.data_folder is None:
            os.environ.pop("WANDB_DATA_DIR", None)


@contextmanager
def _hooks_kept() -> Iterator[None]:
    """sys.exit and sys.excepthook are what they were, whatever W&B puts there."""
    kept = sys.exit, sys.excepthook
    try:
        yield
    finally:
        sys.exit, sys.excepthook = kept


def _service() -> Popen[bytes] | None:
    """W&B's service process, to which it has no public way."""
    connection = getattr(wandb_setup._singleton, "_connection", None)
    return None if connection is None or connection._proc is None else connection._proc._process


def _within(seconds: float, call: Callable[[], object], service: Popen[bytes] | None) -> None:
    """Calls in a thread. If it hangs, W&B's service process is killed, since everything that waits for it would hang.

    Raises:
        TimeoutError: if it took longer.
        BaseException: what the call raised.
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
        if service is not None:
            service.kill()
        raise TimeoutError(f"W&B did not answer within {seconds:.0f} s")
    if raised:
        raise raised[0]
