"""What the terminal shows while something runs."""

import pytest

from segkit.tracking.console import TrainingConsole, progress_bar

SCORES = {"global_accuracy": 0.5, "class_average_accuracy": 0.25, "mean_iou": 0.125}


@pytest.fixture
def terminal(monkeypatch):
    """Standard output counts as a terminal that understands cursor movement."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")


def test_the_training_bar_counts_every_step(terminal, capsys):
    with TrainingConsole(5, done=2) as console:
        console.advance(5)
        console.write("train", {"loss": 0.75})
    shown = capsys.readouterr().out
    assert "5/5" in shown
    assert "loss 0.7500" in shown


def test_validation_has_a_bar_of_its_own(terminal, capsys):
    with TrainingConsole(5) as console:
        with console.validation(101) as advance:
            advance(37)
            console.bar.refresh()
        console.bar.refresh()
        assert len(console.bar.tasks) == 1
    assert "37/101" in capsys.readouterr().out


def test_a_better_score_is_marked(capsys):
    with TrainingConsole(20, best=0.2) as console:
        for epoch, mean_iou in enumerate([0.1, 0.3, 0.25], start=1):
            console.write("validation", {**SCORES, "mean_iou": mean_iou, "epoch": epoch, "step": epoch, "seconds": 1.0})
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("best") for line in lines] == [False, True, False]
    assert "mean IoU 30.0" in lines[1]


def test_a_bar_shows_on_a_terminal_and_is_silent_elsewhere(monkeypatch, capsys):
    with progress_bar("scoring test", 3) as advance:
        advance(3)
    assert capsys.readouterr().out.strip() == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with progress_bar("scoring test", 3) as advance:
        advance(3)
    assert "3/3" in capsys.readouterr().out
