"""segkit: a laboratory for semantic-segmentation decoders.

    import segkit

    config = segkit.load_config("configs/streets/fcn8s.yaml", ["training.epochs=4"])
    segkit.train(config, "runs/fcn8s")
    segkit.evaluate("runs/fcn8s", "val").mean_iou
    predictor = segkit.load_model("runs/fcn8s")
    labels = predictor("scene.png")  # or an array: uint8 [H, W, 3], RGB
    segkit.compare_runs(["runs/fcn8s", "runs/segnet"], out="report")

Importing the package is cheap: torch and the rest are imported when a function is called.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from segkit.config.schema import RunConfig
    from segkit.experiments.comparison import Comparison
    from segkit.metrics.confusion import Scores
    from segkit.runs.predict import Predictor

__version__ = "0.1.0"
__all__ = ["compare_runs", "evaluate", "load_config", "load_model", "train"]

AnyPath = str | PathLike[str]
Split = Literal["train", "val", "test"]


def load_config(path: AnyPath, overrides: Sequence[str] = ()) -> "RunConfig":
    """Read the config of a run.

    Args:
        path: config file (YAML).
        overrides: changes to it, such as "training.epochs=4".
    Raises:
        segkit.errors.InputError: naming every problem, with its file and line.
    """
    from segkit import build

    return build.load_config(Path(path), overrides)[0]


def train(config: "RunConfig", run: AnyPath | None = None, *, overwrite: bool = False) -> dict[str, Any]:
    """Train, keep the best weights by validation mean IoU, and score them on the test split.

    An interrupted run is resumed; of a finished one, the result is read.

    Args:
        config: as `load_config` gives it.
        run: folder of the run; None: runs/NAME.
        overwrite: delete the run in that folder first.
    Returns:
        What RUN/result.json holds: test scores, class names, parameters, seconds and more.
    Raises:
        segkit.errors.InputError: if the config, its data or the folder cannot be used.
        segkit.errors.RunError: if something fails while it trains, such as a full disk.
        segkit.system.signals.Interrupted: on Ctrl-C; what was trained is saved.
    """
    from segkit.runs.train import train_run
    from segkit.tracking.run_dir import RunDir

    folder = RunDir(Path(run) if run is not None else Path("runs") / config.name)
    return train_run(config, folder, overwrite=overwrite)


def evaluate(
    run: AnyPath,
    split: Split = "test",
    *,
    weights: AnyPath | None = None,
    overrides: Sequence[str] = (),
    trust_plugins: bool = False,
) -> "Scores":
    """Score a run on a split, at the labels' own resolution; predictions and confusion matrices go to its folder.

    Args:
        run: folder of the run, or a config file with `weights`.
        split: train, val or test.
        weights: weight file instead of the run's best; nothing is stored then.
        overrides: changes to its config, such as "data.root=PATH" on this machine.
        trust_plugins: run the Python files that came with the folder of a run that was trained elsewhere.
    Raises:
        segkit.errors.InputError: if there is no such run, or its data cannot be used.
    """
    from segkit.config.plugins import trust_run
    from segkit.metrics.confusion import scores
    from segkit.runs.trained import evaluate_trained, open_trained

    if trust_plugins:
        trust_run(Path(run))
    trained = open_trained(Path(run), overrides, weights=Path(weights) if weights is not None else None)
    return scores(evaluate_trained(trained, split).matrix)


def load_model(
    run: AnyPath,
    weights: AnyPath | None = None,
    *,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    samples: int | None = None,
    overrides: Sequence[str] = (),
    trust_plugins: bool = False,
) -> "Predictor":
    """Open a trained model: `predictor(image)` gives labels, `predictor.probabilities(image)` and
    `predictor.logits(image)` what they come from.

    Args:
        run: folder of a run, or a config file with `weights`.
        weights: weight file instead of the run's best.
        device: where it computes; None: as the config says.
        samples: label by the mean of so many passes with dropout on; `predictor.uncertainty` says how much they vary.
        overrides: changes to its config.
        trust_plugins: run the Python files that came with the folder of a run that was trained elsewhere.
    Raises:
        segkit.errors.InputError: if there is no such run or there are no weights that fit.
    """
    from segkit.config.plugins import trust_run
    from segkit.runs.predict import Predictor

    if trust_plugins:
        trust_run(Path(run))
    changes = [*overrides, *([] if device is None else [f"training.device={device}"])]
    return Predictor(run, changes, weights=weights, samples=samples)


def compare_runs(
    paths: Sequence[AnyPath],
    out: AnyPath | None = None,
    *,
    runs: AnyPath = "runs",
    block: int = 1,
    overrides: Sequence[str] = (),
) -> "Comparison":
    """Compare finished runs: `tables()` of scores, classes, differences and costs, `verdicts()` on each pair.

    Runs that differ in their seed only are repetitions of one method.

    Args:
        paths: run folders, folders of run folders, or experiment files.
        out: folder for tables, figures and a page; None: none is written.
        runs: where the runs of experiment files are.
        block: this many consecutive test images are drawn together, as for video.
        overrides: changes to the runs' configs, such as "data.root=PATH" on this machine.
    Raises:
        segkit.errors.InputError: if there are none, or they cannot be compared.
    """
    from segkit.experiments.comparison import finished_runs, open_comparison

    finished, _ = finished_runs([Path(path) for path in paths], overrides, runs=Path(runs))
    comparison = open_comparison(finished, overrides, block=block)
    if out is not None:
        comparison.write(Path(out), overrides)
    return comparison
