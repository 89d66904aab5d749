"""Choice of device and precision, random states, and bit-exact repetition."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from segkit.errors import InputError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # environment variable
REPEATABLE = (":4096:8", ":16:8")  # values that make cuBLAS deterministic
REFUSAL = "does not have a deterministic implementation"  # in torch's messages


def choose_device(name: str) -> torch.device:
    """Return the named device; `auto` is the first of cuda, mps and cpu that this machine has.

    Raises:
        InputError: if the machine lacks the named device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(n for n, here in present.items() if here)
    if not present.get(name, False):
        here = ", ".join(n for n, is_here in present.items() if is_here)
        raise InputError(
            f"training.device = '{name}': torch finds none on this machine; it has {here}. Use training.device=auto."
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the named precision; `auto` is bfloat16 where the device computes in it natively, else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    found = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}  # torch 2.10 has none
    return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_tile") else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Mixed precision if `precision` is below float32; otherwise nothing."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of the generators that a model on a device draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state(*([device] if device.type == "cuda" else []))
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Reset the generators to a `random_state`; states of another kind of device are left out."""
    torch.set_rng_state(state["cpu"])
    if device.type in state and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[device.type], *([device] if device.type == "cuda" else []))


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Restrict torch to algorithms that give the same bits each time, if `wanted`; restore all settings afterwards.

    The same bits means: from the same config, on the same machine, with the same software and number of threads. cuBLAS
    reads its setting when it starts, so on a GPU this comes before the first multiplication of the process. Tests prove
    it on CPUs. On CUDA it is torch's promise, and was never run; there, torch does not state the order in which
    overlapping max-pooling (AlexNet, GoogLeNet) adds up gradients.

    Raises:
        InputError: if the model has a layer without such an algorithm on its device, such as adaptive pooling on CUDA.
    """
    if not wanted:
        yield
        return
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(CUBLAS)
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        if workspace not in REPEATABLE:
            os.environ[CUBLAS] = REPEATABLE[0]
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)
        yield
    except RuntimeError as error:
        if REFUSAL not in str(error):
            raise
        operation = str(error).split(maxsplit=1)[0]
        raise InputError(
            f"training.deterministic = true: the model needs torch's {operation}, which {REFUSAL} on this device. "
            "Set training.deterministic=false, or train on another device."
        ) from error
    finally:
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])
        torch.backends.cudnn.benchmark = benchmark
        os.environ.pop(CUBLAS, None)
        if workspace is not None:
            os.environ[CUBLAS] = workspace
