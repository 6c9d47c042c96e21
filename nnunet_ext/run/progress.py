"""Progress in words: numbered steps with elapsed time, and nnU-Net's output condensed to a line per epoch."""

import itertools
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nnunet_ext.evaluation.training_log import LINES, mean_of_numbers

Say = Callable[[str], None]

CASE_BEGINS = "perform_everything_on_device: "  # nnU-Net says this once per case
_TOTAL = re.compile(r"_(\d+)epochs?(?:_|$)")


def clock(seconds: float) -> str:
    """Return a duration as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def epochs_in_name(trainer: str) -> int | None:
    """Return N of a trainer name with `_<N>epochs` or nnU-Net's `_<N>epoch`, else None."""
    match = _TOTAL.search(trainer)
    return int(match.group(1)) if match else None


class Steps:
    """Numbers steps as they begin: `[ 3/10] 0:42  train nnUNetTrainer` (the time since the first)."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say, self._done, self._start = total, say, 0, time.monotonic()

    def begin(self, text: str) -> None:
        """Announce the next step."""
        self._done += 1
        width = len(str(self._total))
        self._say(f"[{self._done:{width}}/{self._total}] {self.elapsed()}  {text}")

    def note(self, text: str) -> None:
        """Say a line within the present step."""
        self._say(f"        {text}")

    def elapsed(self) -> str:
        """Return the time since the first step as text."""
        return clock(time.monotonic() - self._start)


@dataclass
class TrainingProgress:
    """Reads the lines of `nnUNetv2_train`; says one line per epoch and keeps the curves.

    `losses` and `dices` (mean over classes of nnU-Net's pseudo Dice, from patches of the validation cases)
    hold one number per epoch.
    """

    say: Say
    total: int | None = None
    losses: list[float] = field(default_factory=list)
    dices: list[float] = field(default_factory=list)
    _present: dict[str, str] = field(default_factory=dict)

    def __call__(self, line: str) -> None:
        """Take one line."""
        for name, pattern in LINES.items():
            if match := pattern.search(line):
                self._present[name] = match.group(1)
        if "seconds" in self._present and len(self._present) == len(LINES):
            self._end_epoch()
        elif line.rstrip().endswith("Training done."):
            self.say("training done; nnU-Net predicts the validation cases of the fold")

    def _end_epoch(self) -> None:
        self.losses.append(float(self._present["loss"]))
        self.dices.append(mean_of_numbers(self._present["dice"]))
        epoch, seconds = int(self._present["epoch"]) + 1, float(self._present["seconds"])
        of = f"/{self.total}" if self.total else ""
        left = f", about {clock((self.total - epoch) * seconds)} left" if self.total else ""
        scores = f"loss {self.losses[-1]:+.3f}, pseudo Dice {self.dices[-1]:.3f}"
        self.say(f"epoch {epoch:2d}{of}: {scores}, {seconds:.1f} s{left}")
        self._present.clear()


@dataclass
class PredictionProgress:
    """Reads the lines of `nnUNetv2_predict` and keeps when each case began (seconds of a monotonic clock)."""

    begins: list[float] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        """Take one line."""
        if line.startswith(CASE_BEGINS):
            self.begins.append(time.monotonic())

    def seconds_per_case(self) -> float:
        """Return the median time from one case to the next, without start-up; NaN for fewer than two cases."""
        gaps = [later - earlier for earlier, later in itertools.pairwise(self.begins)]
        return statistics.median(gaps) if gaps else float("nan")
