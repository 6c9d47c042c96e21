"""What nnU-Net's training log says: a learning curve, and how long training and validation took.

Stock trainers and ours write the same log, so that their times are measured in the same way.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

LINES = {
    "epoch": re.compile(r": Epoch (\d+)\s*$"),
    "loss": re.compile(r": train_loss (\S+)"),
    "dice": re.compile(r": Pseudo dice \[(.*)\]"),
    "seconds": re.compile(r": Epoch time: ([\d.]+) s"),
}
_PREDICTS, _VALIDATED = ": predicting ", ": Validation complete"
_NUMPY_TYPE = re.compile(r"np\.\w+\(")
_NUMBER = re.compile(r"nan|-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")


@dataclass
class TrainingLog:
    """What is known of one training.

    Attributes:
        dices: of each finished epoch, the mean over classes of nnU-Net's pseudo Dice (of patches of validation cases).
        seconds: of each finished epoch.
        validation_seconds: wall time of the last whole validation, from its first case on; NaN if there is none.
        trained_since: epochs were trained after the last whole validation, or there is none.
    """

    dices: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    validation_seconds: float = math.nan
    trained_since: bool = False

    @property
    def training_seconds(self) -> float:
        """Sum of the epochs' times, each epoch once; NaN if there is none."""
        return sum(self.seconds.values()) if self.seconds else math.nan

    def curve(self) -> list[float]:
        """Return the pseudo Dice of each epoch from the first on, NaN where the logs lack it."""
        return [self.dices.get(i, math.nan) for i in range(max(self.dices, default=-1) + 1)]

    def forget_from(self, epoch: int) -> None:
        """Forget epochs that are trained again: of a training that is continued, or starts anew."""
        for known in (self.dices, self.seconds):
            for later in [i for i in known if i >= epoch]:
                del known[later]


def read_training_logs(fold: str | os.PathLike[str]) -> TrainingLog:
    """Read all `training_log_*.txt` of a fold's folder, oldest first; an empty `TrainingLog` if there is none."""
    log = TrainingLog()
    for path in sorted(Path(fold).glob("training_log_*.txt"), key=_when):
        with path.open(encoding="utf-8", errors="replace") as lines:
            _read(log, lines)
    return log


def mean_of_numbers(text: str) -> float:
    """Return the mean of the numbers in a printed list, such as `np.float32(0.5), 0.7`; NaN if there is none."""
    numbers = [float(number) for number in _NUMBER.findall(_NUMPY_TYPE.sub("", text))]
    return sum(numbers) / len(numbers) if numbers else float("nan")


def _when(path: Path) -> list[int]:
    """Return the numbers in a log's name: year, month, day and time, of which not all have leading zeros."""
    return [int(number) for number in re.findall(r"\d+", path.stem)]


def _read(log: TrainingLog, lines: Iterable[str]) -> None:
    epoch: int | None = None
    validation: datetime | None = None
    for line in lines:
        if match := LINES["epoch"].search(line):
            epoch, validation = int(match[1]), None
            log.forget_from(epoch)
            log.trained_since = True
        elif epoch is not None and (match := LINES["dice"].search(line)):
            log.dices[epoch] = mean_of_numbers(match[1])
        elif epoch is not None and (match := LINES["seconds"].search(line)):
            log.seconds[epoch] = float(match[1])
        elif _PREDICTS in line:
            validation = validation or _time(line)
        elif _VALIDATED in line and validation is not None:
            end = _time(line)
            log.validation_seconds = math.nan if end is None else (end - validation).total_seconds()
            validation, log.trained_since = None, False


def _time(line: str) -> datetime | None:
    try:
        return datetime.fromisoformat(line[:26])
    except ValueError:
        return None
