"""Weight files: read safely, fitted by name, every misfit listed."""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from segkit.errors import InputError
from segkit.system.files import write_atomically

DIGEST = "segkit_sha256"  # key of the metadata: of the whole file, with zeros in the digest's own place
_ZEROS = "0" * 64


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, .pt or .pth file by name. No code in the file is ever run.

    Raises:
        InputError: if the file is missing, of another kind, or damaged.
    """
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"weights {path}: expected a file ending in .safetensors, .pt or .pth. Check the path.")
    if not path.is_file():
        raise InputError(
            f"weights {path} do not exist; expected a .safetensors, .pt or .pth file. Fetch them or set null."
        )
    try:
        if path.suffix == ".safetensors":
            _verify(path)
            return safetensors.torch.load_file(path)
        # torch warns about old pickles and TorchScript; the errors below are clearer
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        if "TorchScript" in str(error):  # torch's advice here is to run the code in the file
            raise InputError(
                f"weights {path} hold a TorchScript program; expected a plain state dict. "
                "Save model.state_dict() alone."
            ) from None
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"weights {path} cannot be read ({line}); expected a whole file. Fetch it again.") from None
    except Exception as error:  # torch raises pickle's errors for content that is not plain tensors
        raise InputError(
            f"weights {path} hold more than tensors ({type(error).__name__}) and were refused; "
            "expected a plain state dict. Ask its author for a .safetensors file."
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(n, str) and _is_plain(t) for n, t in state.items()):
        raise InputError(
            f"weights {path}: expected a mapping from names to dense tensors of real numbers. "
            "Save model.state_dict() alone."
        )
    return dict(state)


def _is_plain(x: object) -> bool:
    return isinstance(x, Tensor) and x.layout == torch.strided and not (x.is_quantized or x.is_complex())


def write_weights(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file, atomically, with its own SHA-256 in its metadata; equal content makes equal files.

    The metadata is put into the header here, since safetensors (0.8) writes it in another order in each process.
    """
    content = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    length = int.from_bytes(content[:8], "little")
    data = memoryview(content)[8 + length :]
    header = {"__metadata__": {DIGEST: _ZEROS, **dict(sorted(metadata.items()))}, **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(start)
    digest.update(data)
    start = start.replace(_ZEROS.encode(), digest.hexdigest().encode(), 1)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            file.write(start)
            file.write(data)

    write_atomically(path, write)


def _verify(path: Path) -> None:
    """Raise SafetensorError if a file that holds its own digest was changed or damaged."""
    stated = read_metadata(path).get(DIGEST, "")
    if not re.fullmatch("[0-9a-f]{64}", stated):
        return  # not written by segkit
    with path.open("rb") as file:
        length = file.read(8)
        text = file.read(int.from_bytes(length, "little"))
        digest = hashlib.sha256(length + text.replace(stated.encode(), _ZEROS.encode(), 1))
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest() != stated:
        raise SafetensorError("damaged: its SHA-256 is not the one that it was written with")


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a .safetensors file; {} for other files."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def load_exactly(
    module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, may_lack: tuple[str, ...] = ()
) -> None:
    """Copy `tensors` into `module` by name.

    Args:
        source: name of the origin in messages.
        may_lack: names of `module` that keep their values when `tensors` does not hold them.
    Raises:
        InputError: listing every tensor that is missing, left over or of another shape; nothing is copied then.
    """
    own = module.state_dict()
    needed = [n for n in own if n not in may_lack and not n.endswith("num_batches_tracked")]
    problems = [f"{n} is missing" for n in needed if n not in tensors]
    problems += [f"{n} fits nothing" for n in tensors if n not in own]
    shapes = [(n, [*tensors[n].shape], [*own[n].shape]) for n in own if n in tensors]
    problems += [f"{n} is {found}, expected {expected}" for n, found, expected in shapes if found != expected]
    if problems:
        raise InputError(
            f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}. "
            "Use the weights of this architecture, or change it."
        )
    module.load_state_dict({**own, **tensors})
