"""What tests of weights share: files that hold them, and what is said of those that do not fit."""

import caffe_writer
import pytest
import torch
from safetensors.torch import save_file

from segkit.errors import InputError


@pytest.fixture
def write(tmp_path):
    """Writes tensors to a file and returns its path as a string."""

    def write(tensors, name="weights.safetensors"):
        path = tmp_path / name
        save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
        return str(path)

    return write


@pytest.fixture
def refusal():
    """Calls what must be refused and returns the sentence that the user reads."""

    def refusal(call, *arguments, **options):
        with pytest.raises(InputError) as caught:
            call(*arguments, **options)
        assert "weights_only" not in str(caught.value)
        return str(caught.value)

    return refusal


@pytest.fixture
def caffemodel(tmp_path):
    """Writes layers to a .caffemodel file."""

    def caffemodel(layers, **options):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(caffe_writer.write(layers, **options))
        return path

    return caffemodel
