"""Curves and times from nnU-Net's logs: continued, restarted and half-written ones."""

import math

import pytest
from made_results import LOG, VALIDATION

from nnunet_ext.evaluation.training_log import read_training_logs


def write(folder, name, epochs, seconds=2.0, tail=""):
    text = "".join(LOG.format(epoch=e, dice=e / 10, seconds=seconds) for e in epochs)
    (folder / f"training_log_{name}.txt").write_text(text + tail)


def test_a_training_and_its_validation(tmp_path):
    write(tmp_path, "2026_1_2_03_04_05", range(3), tail=VALIDATION)
    log = read_training_logs(tmp_path)
    assert log.curve() == pytest.approx([0.0, 0.1, 0.2])
    assert log.training_seconds == 6
    assert log.validation_seconds == 10


def test_a_continued_training_counts_each_epoch_once(tmp_path):
    write(tmp_path, "2026_2_10_00_00_00", [2, 3], seconds=5.0)  # months have no leading zero
    write(tmp_path, "2026_2_9_00_00_00", [0, 1, 2], seconds=1.0)
    log = read_training_logs(tmp_path)
    assert log.seconds == {0: 1.0, 1: 1.0, 2: 5.0, 3: 5.0}
    assert len(log.curve()) == 4


def test_a_training_that_starts_anew_forgets_the_earlier_one(tmp_path):
    write(tmp_path, "2026_2_9_00_00_00", range(5))
    write(tmp_path, "2026_2_10_00_00_00", range(2))
    assert len(read_training_logs(tmp_path).curve()) == 2


def test_later_validations_replace_earlier_ones_if_they_are_whole(tmp_path):
    write(tmp_path, "2026_1_1_00_00_00", [0], tail=VALIDATION)
    (tmp_path / "training_log_2026_1_2_00_00_00.txt").write_text(VALIDATION.replace("10:01:10", "10:01:30"))
    assert read_training_logs(tmp_path).validation_seconds == 30
    (tmp_path / "training_log_2026_1_3_00_00_00.txt").write_text(VALIDATION.split("2026-01-01 10:01:10")[0])
    assert read_training_logs(tmp_path).validation_seconds == 30


def test_an_epoch_that_was_cut_short_does_not_count(tmp_path):
    write(tmp_path, "2026_1_1_00_00_00", [0], tail=LOG.format(epoch=1, dice=1, seconds=1).split("Pseudo")[0])
    log = read_training_logs(tmp_path)
    assert (log.curve(), log.training_seconds) == ([0.0], 2.0)


def test_nothing_is_known_without_logs(tmp_path):
    log = read_training_logs(tmp_path)
    assert log.curve() == []
    assert math.isnan(log.training_seconds)
    assert math.isnan(log.validation_seconds)
