"""The notebooks run from start to end with real results, hold calls alone, and are stored without outputs."""

import ast
import asyncio
import base64
import io
import os
import runpy
import shutil
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupytext.cli import jupytext as jupytext_command
from nbclient import NotebookClient
from PIL import Image

from segkit.data.datasets.road_classes import CLASS_NAMES

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("0*.py"))
CALLS = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.Assign, ast.Expr, ast.Call, ast.keyword, ast.Attribute, ast.Name, ast.Constant,
    ast.List, ast.Tuple, ast.Dict, ast.Starred, ast.Subscript, ast.Slice, ast.JoinedStr, ast.FormattedValue, ast.UnaryOp, ast.USub,
    ast.BinOp, ast.Div, ast.expr_context,
)  # fmt: skip


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Executes a copy of a notebook outside of the repository, in a kernel of this interpreter: the outputs of its cells.

    Another machine's `python3` kernel may come first on Jupyter's path: here one does that cannot start.
    """
    folder = tmp_path / "jupyter/kernels/python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["false"], "display_name": "another Python", "language": "python"}')
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    settings = {"SEGKIT_FAST": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    settings["SEGKIT_NOTEBOOK_RUNS"] = str(tmp_path / "runs")

    def run(name: str) -> list[nbformat.NotebookNode]:
        copies = shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("runs"))
        notebook = jupytext.read(copies / f"{name}.py")
        only_ipykernel = KernelSpecManager(kernel_dirs=[])  # none on disk
        manager = AsyncKernelManager(kernel_spec_manager=only_ipykernel)
        client = NotebookClient(notebook, km=manager, timeout=900, resources={"metadata": {"path": str(copies)}})
        asyncio.run(client.async_execute(env={**os.environ, **settings}, cleanup_kc=True))
        return [output for cell in notebook.cells for output in cell.get("outputs", [])]

    return run


def pictures(outputs):
    """How many colours each picture has."""
    found = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [len(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").getcolors(1 << 24)) for png in found]


def words(outputs):
    """All that is shown as text or HTML."""
    return "\n".join(output.get("text", "") + output.get("data", {}).get("text/html", "") for output in outputs)


def run_folders(folder):
    return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("result.json"))


def test_a_first_run_shows_samples_weights_curves_scores_and_predictions(execute, tmp_path):
    outputs = execute("01_first_run")
    assert run_folders(tmp_path / "runs") == ["first_run"]
    assert len(pictures(outputs)) == 4
    assert min(pictures(outputs)) > 10
    shown = words(outputs)
    assert all(shown.count(f"<th>{name}</th>") == 2 for name in CLASS_NAMES)  # weights, and scores
    assert "head_width: 256" in shown  # of the resolved config
    assert "step 4/4" in shown


@pytest.mark.slow
def test_decoders_are_trained_compared_and_shown_with_their_browser(execute, tmp_path):
    outputs = execute("02_compare_decoders")
    members = [f"{decoder}-seed{seed}" for decoder in ("fcn32s", "fcn8s") for seed in (0, 1)]
    assert run_folders(tmp_path / "runs") == [f"decoders-on-streets/{name}" for name in members]
    shown = words(outputs)
    assert all(f"{name} finished: test mean IoU" in shown for name in members)
    assert "equal in fcn32s, fcn8s, for one seed: settings of data, transforms, loss" in shown
    assert "images only" in shown  # two seeds
    assert len(pictures(outputs)) == 4
    assert min(pictures(outputs)) > 10
    assert '<iframe title="Comparison" srcdoc="&lt;!doctype html&gt;' in shown
    assert "id=&quot;run-a&quot;" in shown


def test_a_look_inside_a_run_shows_its_mistakes(execute, tmp_path):
    outputs = execute("03_look_inside_a_run")
    assert run_folders(tmp_path / "runs") == ["first_run"]
    assert len(pictures(outputs)) == 6
    assert min(pictures(outputs)) > 10
    shown = words(outputs)
    assert all(f"<th>{name}</th>" in shown for name in ("boundary IoU", "streets-test-00003", *CLASS_NAMES))


def test_every_notebook_is_executed_here():
    tests = Path(__file__).read_text()
    assert len(SOURCES) == 3
    assert all(f'execute("{path.stem}")' in tests for path in SOURCES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_cells_hold_calls_and_no_logic_and_no_outputs(path):
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            others = [node for node in ast.walk(ast.parse(cell.source)) if not isinstance(node, CALLS)]
            assert not others, f"{ast.unparse(others[0])}: this belongs into segkit"
    for cell in nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_both_files_of_a_notebook_say_the_same(tmp_path):
    ignored = shutil.ignore_patterns(".ipynb_checkpoints", "runs")
    copies = shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=ignored)
    jupytext_command(["--sync", "--quiet", *map(str, copies.glob("0*.py"))])
    for path in SOURCES:
        for file in (path, path.with_suffix(".ipynb")):
            assert (copies / file.name).read_bytes() == file.read_bytes(), f"run: jupytext --sync notebooks/{path.name}"


@pytest.mark.parametrize(("value", "fast"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_segkit_fast_makes_the_notebooks_short_and_keeps_their_runs_apart(monkeypatch, value, fast):
    monkeypatch.delenv("SEGKIT_NOTEBOOK_RUNS", raising=False)
    monkeypatch.delenv("SEGKIT_FAST", raising=False)
    if value is not None:
        monkeypatch.setenv("SEGKIT_FAST", value)
    settings = runpy.run_path(str(ROOT / "notebooks/settings.py"))
    assert (bool(settings["CHANGES"]), bool(settings["MEMBERS"])) == (fast, fast)
    assert settings["RUNS"] == Path("runs/notebooks-fast" if fast else "runs/notebooks")
    monkeypatch.setenv("SEGKIT_NOTEBOOK_RUNS", "elsewhere")
    assert runpy.run_path(str(ROOT / "notebooks/settings.py"))["RUNS"] == Path("elsewhere")
