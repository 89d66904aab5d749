"""Messages for errors caused by the user's input or the machine, raised by segkit, torch or the system."""

import errno
import re

from segkit.errors import InputError, RunError

OUT_OF_MEMORY = "out of memory|can't allocate memory|cannot allocate memory|_ALLOC_FAILED"
WRONG_PATH = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip


def explain(error: Exception) -> tuple[int, str] | None:
    """Return the exit code (2 for wrong input, 1 for an outside failure) and message of an error; None for a bug."""
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, RunError):
        return 1, str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and re.search(OUT_OF_MEMORY, str(error), re.I)
    ):
        return 1, (
            "out of memory. Lower training.batch_size, transforms.crop or training.workers, or raise "
            "training.accumulation; for scoring, lower evaluation.batch_size. Checkpoints are kept."
        )
    if isinstance(error, OSError):
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        return (2 if error.errno in WRONG_PATH else 1), f"{what}. Check the path, its rights and the free space."
    if isinstance(error, FloatingPointError):
        return 1, (
            f"training stopped: {error}. Lower optimizer.lr, set training.gradient_clip, or skip such steps with "
            "training.skip_nonfinite; then start again with --overwrite, or from a checkpoint's weights."
        )
    if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
        shape = str(error).rpartition("size ")[2].removeprefix("torch.Size(").rstrip(")")
        return 2, (
            f"batch norm cannot train on one value per channel (feature map {shape}); expected two or more. "
            "Raise training.batch_size, lower training.accumulation, or enlarge transforms.crop."
        )
    return None
