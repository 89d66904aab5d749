"""Which errors are the user's or the machine's, and what is said about them."""

import pytest
import torch
from torch import nn

from segkit.errors import InputError, RunError
from segkit.system.failures import explain


def raised(call) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        raised(lambda: torch.empty(2**60, dtype=torch.uint8)),
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        OSError(12, "Cannot allocate memory"),  # when workers are forked
    ],
)
def test_every_kind_of_too_little_memory_is_one_message(error):
    code, message = explain(error) or (0, "")
    assert code == 1
    assert message.startswith("out of memory. Lower training.batch_size, transforms.crop or training.workers, ")
    assert message.endswith("Checkpoints are kept.")


def test_a_wrong_path_is_bad_input_and_a_broken_disk_is_not(tmp_path, read_only):
    for error in (raised((tmp_path / "none").read_text), raised((read_only / "new").mkdir), raised(tmp_path.read_text)):
        assert (explain(error) or (0, ""))[0] == 2
    assert explain(OSError(5, "Input/output error", "/data/a.png")) == (
        1,
        "/data/a.png: Input/output error. Check the path, its rights and the free space.",
    )


def test_messages_of_our_own_are_passed_on():
    assert explain(InputError("a is b")) == (2, "a is b")
    assert explain(RunError("c broke")) == (1, "c broke")


def test_a_mistake_in_the_code_is_not_explained_away():
    wrong_size = raised(lambda: nn.BatchNorm2d(3)(torch.zeros(1, 4, 2, 2)))
    for error in (wrong_size, raised(lambda: {}["key"]), raised(lambda: torch.zeros(2) @ torch.zeros(3))):
        assert explain(error) is None


def test_a_batch_norm_with_a_single_value_is_a_wrong_setting():
    code, message = explain(raised(lambda: nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1)))) or (0, "")
    assert code == 2
    assert "(feature map [1, 3, 1, 1]); expected two or more. Raise training.batch_size" in message
