"""Online, against a small server of our own: what arrives, and what happens to steps that it has already."""

import json
import shutil
from threading import Thread

import pytest
from wandb_server import Server

from segkit.tracking.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("no_wandb_settings")


@pytest.fixture
def server(monkeypatch):
    server = Server()
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "30")
    yield server
    server.shutdown()
    server.server_close()


def test_steps_that_the_server_has_are_not_sent_twice_and_missing_ones_are_added(segkit, pair, server, tmp_path):
    whole = shutil.copytree(pair[0], tmp_path / "run")
    records = (whole / "metrics.jsonl").read_text()
    result = (whole / "result.json").read_bytes()
    (whole / "result.json").unlink()  # as if stopped after step 4 and the validation there
    kept = [
        line for line in records.splitlines(keepends=True) if json.loads(line)["step"] <= 4 and '"test"' not in line
    ]
    (whole / "metrics.jsonl").write_text("".join(kept))
    assert segkit("sync", whole)[0] == 0
    run_id = json.loads((whole / "wandb.json").read_text())["id"]
    assert server.steps(run_id) == [1, 2, 3]  # the last step may be incomplete, so it waits
    assert server.runs[run_id]["exit"] == 1

    (whole / "metrics.jsonl").write_text(records)
    (whole / "result.json").write_bytes(result)
    for _ in range(2):
        code, out, errors = segkit("sync", whole)
        assert (code, out, errors) == (0, f"{server.url}/team/segkit/runs/{run_id}\n", "")
        assert server.steps(run_id) == [1, 2, 3, 4, 5, 6]
        assert server.runs[run_id]["exit"] == 0
        assert server.runs[run_id]["summary"]["test/mean_iou"] == RunDir(whole).result()["test"]["mean_iou"]
    validated = [json.loads(line)["step"] for line in server.runs[run_id]["history"] if "validation/mean_iou" in line]
    assert validated == [2, 4, 6]
    assert list(server.runs) == [run_id]
