"""Weight files: tensors fit exactly or nothing is copied, and damage and malice are refused."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from segkit.models.weights import load_exactly, read_weights


def test_nothing_is_copied_where_something_does_not_fit(refusal):
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    refusal(load_exactly, module, {"weight": torch.zeros(2, 2)}, source="x")
    assert torch.equal(module.weight, before)


def test_tensors_that_may_be_lacking_keep_their_values():
    module = nn.Linear(2, 2)
    before = module.bias.detach().clone()
    load_exactly(module, {"weight": torch.zeros(2, 2)}, source="x", may_lack=("bias",))
    assert torch.equal(module.bias, before)
    assert not module.weight.any()


# --- files that cannot be read ---


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(write, refusal, suffix, share):
    path = Path(write({"a": torch.zeros(100)}, f"w{suffix}"))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    message = refusal(read_weights, path)
    assert "cannot be read" in message
    assert str(path) in message


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_web_page_saved_as_weights_is_refused(tmp_path, refusal, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_text("<!DOCTYPE html>\n<title>404 Not Found</title>\n" * 9)
    assert str(path) in refusal(read_weights, path)


class Payload:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["zip", "pickle", "old pickle", "model"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, refusal, kind):
    sentinel, path = tmp_path / "sentinel", tmp_path / "w.pt"
    content = nn.Linear(2, 2) if kind == "model" else {"a": Payload(f"touch {sentinel}")}
    if kind in ("zip", "model"):
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2 if kind == "pickle" else 0))
    message = refusal(read_weights, path)
    assert not sentinel.exists()
    assert "hold more than tensors" in message
    assert "safetensors" in message


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_program_is_refused(tmp_path, refusal):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "w.pt")
    assert "TorchScript program" in refusal(read_weights, tmp_path / "w.pt")


ONE = torch.zeros(1)


@pytest.mark.parametrize("content", [[ONE], {"model": {"a": ONE}}, {0: ONE}, {"epoch": 3}, {"a": ONE.to_sparse()}])
def test_anything_but_a_mapping_from_names_to_tensors_is_refused(tmp_path, refusal, content, message):
    torch.save(content, tmp_path / "w.pt")
    message(refusal(read_weights, tmp_path / "w.pt"), tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.caffemodel", "w.npz", "w.h5", "w"])
def test_an_unknown_kind_of_file_is_refused_by_its_suffix(tmp_path, refusal, name, message):
    (tmp_path / name).write_bytes(b"x")
    message(refusal(read_weights, tmp_path / name), tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path, refusal):
    (tmp_path / "folder.pt").mkdir()
    for name in ("w.safetensors", "folder.pt"):
        assert f"weights {tmp_path / name} do not exist" in refusal(read_weights, tmp_path / name)
