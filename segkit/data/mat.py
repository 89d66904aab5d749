"""Label maps in MATLAB files, as SBD has them."""

import io
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from segkit.data.images import MAX_PIXELS, read_file
from segkit.errors import InputError
from segkit.tensors import RawLabels


def read_mat_mask(path: Path) -> RawLabels:
    """Class ids of an SBD file, uint8 [H, W]: the field `Segmentation` of its struct `GTcls`.

    Raises:
        InputError: if the file is missing, damaged, of another kind, or too large.
    Source: Hariharan et al. 2011, Semantic Contours from Inverse Detectors; benchmark.tgz.
    """
    content = read_file(path, "SBD .mat")
    try:
        labels = loadmat(io.BytesIO(content), variable_names=["GTcls"])["GTcls"]["Segmentation"][0][0]
    except Exception as error:  # loadmat raises whatever damage leads to
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(
            f"{path} cannot be read ({reason[:120]}); expected SBD's GTcls.Segmentation. Copy it again from its source."
        ) from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype != np.uint8 or not 0 < labels.size <= MAX_PIXELS:
        raise InputError(f"{path}: GTcls.Segmentation is no uint8 map of class ids. Copy it again from its source.")
    return labels
