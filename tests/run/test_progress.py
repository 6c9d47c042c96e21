import math

import pytest

from nnunet_ext.run.progress import (
    PredictionProgress,
    Steps,
    TrainingProgress,
    clock,
    epochs_in_name,
    mean_of_numbers,
)

EPOCH = """
2026-01-01 10:00:00.000000: Epoch {epoch}
2026-01-01 10:00:00.000000: Current learning rate: 0.01
2026-01-01 10:00:07.000000: train_loss {loss}
2026-01-01 10:00:07.000000: val_loss -0.5
2026-01-01 10:00:07.000000: Pseudo dice [np.float32(0.5), np.float64({dice})]
2026-01-01 10:00:07.000000: Epoch time: 6.4 s
2026-01-01 10:00:07.000000: Yayy! New best EMA pseudo Dice: 0.5
"""


def test_a_line_per_epoch():
    said = []
    progress = TrainingProgress(said.append, total=2)
    for epoch, (loss, dice) in enumerate([(-0.1, 0.7), (-0.25, "nan")]):
        for line in EPOCH.format(epoch=epoch, loss=loss, dice=dice).splitlines():
            progress(line)
    progress("2026-01-01 10:00:07.000000: Training done.")
    assert said[0] == "epoch  1/2: loss -0.100, pseudo Dice 0.600, 6.4 s, about 0:06 left"
    assert said[1] == "epoch  2/2: loss -0.250, pseudo Dice nan, 6.4 s, about 0:00 left"
    assert "validation" in said[2]
    assert progress.losses == [-0.1, -0.25]
    assert progress.dices[0] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "mean"),
    [("0.5", 0.5), ("np.float32(0.25), np.float32(0.75)", 0.5), ("np.float64(0)", 0), ("1e-05, 0", 5e-6)],
)
def test_printed_lists_of_any_numpy(text, mean):
    assert mean_of_numbers(text) == pytest.approx(mean)


def test_no_number_is_nan():
    assert math.isnan(mean_of_numbers(""))
    assert math.isnan(mean_of_numbers("np.float32(nan)"))


@pytest.mark.parametrize(
    ("name", "epochs"),
    [("nnUNetTrainer_1epoch", 1), ("nnUNetTrainerX_20epochs_50iters", 20), ("nnUNetTrainer", None)],
)
def test_epochs_in_name(name, epochs):
    assert epochs_in_name(name) == epochs


def test_seconds_per_case_leave_start_up_out(monkeypatch):
    times = iter([100.0, 102.0, 105.0, 107.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    progress = PredictionProgress()
    progress("perform_everything_on_device=True is only supported for cuda devices! Setting this to False")
    for _ in range(4):
        progress("perform_everything_on_device: False")
    assert progress.seconds_per_case() == 2
    assert math.isnan(PredictionProgress().seconds_per_case())


def test_steps_are_numbered_with_time(monkeypatch):
    times = iter([0.0, 0.0, 75.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    said = []
    steps = Steps(10, said.append)
    steps.begin("one")
    steps.begin("two")
    steps.note("detail")
    assert said == ["[ 1/10] 0:00  one", "[ 2/10] 1:15  two", "        detail"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_clock(seconds, text):
    assert clock(seconds) == text
