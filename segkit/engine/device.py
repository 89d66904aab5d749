"""Which device and which precision."""

from contextlib import AbstractContextManager, nullcontext

import torch

from segkit.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto` is the first of cuda, mps and cpu that this machine has.

    Raises:
        InputError: if the machine lacks the named device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(n for n, here in present.items() if here)
    if not present.get(name, False):
        here = ", ".join(n for n, is_here in present.items() if is_here)
        raise InputError(f"training.device = '{name}': torch finds none on this machine; it has {here}. Use training.device=auto.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the device computes in it natively, else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    native = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32


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
    """Undoes what was drawn since `random_state`; what another kind of device drew is left out."""
    torch.set_rng_state(state["cpu"])
    if device.type in state and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[device.type], *([device] if device.type == "cuda" else []))
