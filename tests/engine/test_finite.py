"""Numbers that are none stop a run before they reach a weight, and are named."""

import json

import pytest
import torch
from safetensors.torch import load_file, safe_open
from torch import nn

from segkit.data.loader import Batch
from segkit.engine.checkpoint import Checkpoints, Identity, Progress, TrainState
from segkit.engine.finite import NonFinite, term
from segkit.engine.optim import constant, sgd
from segkit.engine.train import Plan, train
from segkit.losses.cross_entropy import CrossEntropy
from segkit.metrics.confusion import scores

BAD = float("inf")


class Records(list):
    def write(self, kind, record):
        self.append((kind, record))


def batch(number, value=0.5):
    generator = torch.Generator().manual_seed(number)
    image = torch.randn(2, 3, 4, 4, generator=generator)
    image[1, 0, 0, 0] = value
    return [Batch(image, torch.randint(2, (2, 4, 4), generator=generator), (f"a{number}", f"b{number}"))]


def trained(folder, steps, norm=nn.BatchNorm2d, **options):
    """(trainee, records) of a little net after some steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm(4), nn.Conv2d(4, 2, 1))
    model.normalization = "imagenet"
    optimizer = sgd(model, frozenset(), lr=0.1)
    trainee, records = TrainState(model, optimizer, constant(optimizer, 1, 1), Progress()), Records()
    plan = Plan(len(steps), len(steps), torch.device("cpu"), torch.float32, log_every=1, **options)
    folder.mkdir(exist_ok=True)
    checkpoints = Checkpoints(folder, Identity("abc", "net", ("a", "b")))
    perfect = scores(torch.eye(2, dtype=torch.int64).numpy())
    about = {"plan": plan, "log": records, "checkpoints": checkpoints, "validate": lambda _: perfect}
    try:
        train(trainee, CrossEntropy(None), steps, **about)
    except NonFinite as error:
        return trainee, records, error
    return trainee, records, None


def test_a_step_that_is_not_finite_changes_no_weight_and_is_named_and_kept(tmp_path):
    steps = [batch(1), batch(2, BAD)]
    before, _, _ = trained(tmp_path / "a", steps[:1])
    after, records, error = trained(tmp_path / "b", steps, save_every_seconds=0.0)
    for first, second in zip(before.model.parameters(), after.model.parameters(), strict=True):
        assert torch.equal(first, second)
    expected = "step 2: the loss is not finite (loss nan, gradient norm nan), samples a2, b2, kept in "
    assert str(error) == f"{expected}{error.kept}"
    assert records[-1] == ("nonfinite", {"step": 2, **error.about})
    assert after.progress.step == 1
    kept = load_file(error.kept)
    assert torch.equal(kept["image_0"], steps[1][0].image)
    assert torch.equal(kept["labels_0"], steps[1][0].labels)
    with safe_open(error.kept, "pt") as file:
        assert json.loads(file.metadata()["ids_0"]) == ["a2", "b2"]
    assert [path.name for path in (tmp_path / "b").glob("step_*.json")] == ["step_00000001_epoch_0000.json"]


def test_steps_may_be_left_out_and_leave_no_trace_but_a_record(tmp_path):
    with_it, records, error = trained(tmp_path / "a", [batch(1), batch(2, BAD), batch(3)], skip_nonfinite=1)
    without, _, _ = trained(tmp_path / "b", [batch(1), batch(3)])
    assert error is None
    state, expected = with_it.model.state_dict(), without.model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert state["1.num_batches_tracked"] == 2
    assert (with_it.progress.step, with_it.progress.skipped) == (3, 1)
    found = [(kind, record["step"]) for kind, record in records]
    assert found == [("train", 1), ("nonfinite", 2), ("train", 3), ("validation", 3)]


def test_one_more_than_may_be_left_out_ends_the_run(tmp_path):
    after, records, error = trained(tmp_path, [batch(n, BAD) for n in (1, 2, 3)], skip_nonfinite=2)
    assert error.step == 3
    assert after.progress.skipped == 2
    assert [kind for kind, _ in records] == ["nonfinite"] * 3


@pytest.mark.parametrize(
    ("place", "expected"),
    [("weight", "0.bias"), ("gradient", "the gradient of 1.weight"), ("norm", "the norm of the gradients")],
)
def test_the_term_is_where_it_can_be_seen_first(place, expected):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3e38 if place == "norm" else 1.0)
    if place == "weight":
        model[0].bias.data[0] = float("nan")
    if place == "gradient":
        model[1].weight.grad[0, 0] = BAD
    assert term(model, 1.0) == expected
    assert term(model, float("nan")) == (expected if place == "weight" else "the loss")


def test_clipping_does_not_hide_which_gradient_it_was(tmp_path):
    _, _, error = trained(tmp_path, [batch(1, 1e30)], norm=nn.Identity, gradient_clip=1.0)
    assert error.about["term"] == "the norm of the gradients"
    assert error.about["gradient_norm"] == BAD


def test_a_state_that_only_batch_norm_broke_is_not_saved(tmp_path):
    with pytest.raises(FloatingPointError, match=r"step 1: 1 tensors are not finite, the first is 1.running_var; not"):
        trained(tmp_path, [batch(1, 1e30)])
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_is_far_too_high_ends_in_one_message(segkit, tiny, tmp_path):
    run = tmp_path / "run"
    settings = [*tiny, "optimizer.lr=1e30", "optimizer.name=sgd"]
    code, _, errors = segkit("train", "configs/streets/fcn8s.yaml", *settings, "--run", run)
    assert code == 1
    assert "segkit: training stopped: step 2: " in errors
    assert "is not finite" in errors
    assert f"kept in {run / 'checkpoints/nonfinite_step_00000002.safetensors'}. Lower optimizer.lr" in errors
    assert len(errors.splitlines()) == 1
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["kind"], last["step"], len(last["ids"])) == ("nonfinite", 2, 4)
