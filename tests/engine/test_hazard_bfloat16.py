"""A score layer of 4096 to 11 channels in bfloat16 corrupts the heap of a CPU process (performance.md, hazard 1): ours
run in float32."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.decoders.segnet import SegNet
from segkit.models.encoders.vgg import VGG16
from segkit.models.layers import Upsample
from segkit.models.segmenter import Segmenter

STEPS = """
import torch
from segkit.data.loader import Batch
from segkit.engine.optim import constant
from segkit.engine.train import Plan, train
from segkit.engine.train_state import TrainState
from segkit.losses.cross_entropy import CrossEntropy
from segkit.models.decoders.fcn import FCN8s
from segkit.models.encoders.vgg import VGG16
from segkit.models.segmenter import Segmenter
from segkit.tracking.tracker import Tracker

torch.set_num_threads(2)  # with one thread nothing is corrupted
encoder = VGG16(width=1 / 64)
model = Segmenter(encoder, FCN8s(encoder.stages, 11, head_width=4096))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
batch = Batch(torch.randn(1, 3, 192, 256), torch.randint(11, (1, 192, 256)), ("x",))
for layout in (torch.channels_last, torch.contiguous_format):
    state = TrainState(model.to(memory_format=layout), optimizer, constant(optimizer, 1, 1))
    plan = Plan(2, 2, torch.device("cpu"), torch.bfloat16)
    train(state, CrossEntropy(None), [[batch]] * 2, plan=plan, log=Tracker())
    print("step", state.progress.step)
"""


@pytest.mark.slow
def test_a_training_step_of_fcn8s_with_4096_to_11_channels_survives_bfloat16():
    child = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, timeout=600, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("step") == 2


@pytest.mark.parametrize("decoder", [FCN32s, FCN16s, FCN8s, SegNet])
def test_score_layers_and_all_after_them_compute_in_float32_under_autocast(decoder):
    encoder = VGG16(width=1 / 16)
    model = Segmenter(encoder, decoder(encoder.stages, 3, **({} if decoder is SegNet else {"head_width": 8})))
    types = {}

    def note(name):
        return lambda module, arguments, output: types.update({name: (arguments[0].dtype, output.dtype)})

    for name, layer in model.decoder.named_children():
        if isinstance(layer, nn.Conv2d | Upsample):
            layer.register_forward_hook(note(name))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(1, 3, 64, 64))
    exact = {name for name in types if name.startswith(("score", "upscore")) or name == "conv1_1_D"}
    assert exact
    assert {types[name] for name in exact} == {(torch.float32, torch.float32)}
    assert {types[name][1] for name in set(types) - exact} == {torch.bfloat16}  # the rest is worth autocasting
    assert logits.dtype == torch.float32
