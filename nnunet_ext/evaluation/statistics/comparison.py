"""Two trainers on the same cases: how much they differ, and what can be said of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nnunet_ext.evaluation.quality import Estimate
from nnunet_ext.evaluation.statistics.bootstrap import mean_estimate
from nnunet_ext.evaluation.statistics.paired import Outcome, cohens_dz, paired_t, rank_biserial, wilcoxon_p
from nnunet_ext.evaluation.statistics.pairs import Pair, pair_up
from nnunet_ext.evaluation.statistics.scores import ComparisonError, check_comparable
from nnunet_ext.evaluation.statistics.training_noise import corrected_t, repeated_t

REPEATED, CORRECTED = "repeated trainings", "corrected resampled t"
ONE_TRAINING = (
    "One training per fold cannot separate a method from run-to-run noise: a small p-value over cases says that these "
    "trained networks differ, not that the methods do."
)
ONE_FOLD = "With one training of one fold there is no test of the methods: train more folds, or repeat the training."
ONE_DATASET = (
    "Repeats tell methods from run-to-run noise on these training sets; how the methods would do with others, only "
    "more datasets tell."
)
LEAST_REPEATS = 2


@dataclass(frozen=True)
class FoldDifference:
    """Mean difference over the `n` cases of a fold."""

    fold: int
    n: int
    difference: float


@dataclass(frozen=True)
class Comparison:
    """Trainer `a` against trainer `b`; differences are a minus b, of each case's mean over repeats.

    n: cases; groups: of them. left_out: cases with an undefined score of either. mean_a, mean_b: over these n cases.
    difference: mean over cases, 95 % bootstrap interval over groups. better, equal, worse: cases where a is.
    dz: Cohen's; rank_biserial: -1 to 1. wilcoxon: p. paired_t: these two, and the interval of `difference`, are of the
    trained networks, not of the methods. folds: differences of each. corrected: over folds. repeats: trainings that
    every fold of both has at least. repeated: the test that uses them; None below 2.
    headline: which test to report: `repeated` if there are repeats, else `corrected`. note: what the p-values cannot
    say; ONE_TRAINING where there is a fold without repeats.
    """

    a: str
    b: str
    n: int
    groups: int
    left_out: tuple[str, ...]
    mean_a: float
    mean_b: float
    difference: Estimate
    median: float
    better: int
    equal: int
    worse: int
    dz: float
    rank_biserial: float
    wilcoxon: float
    paired_t: Outcome
    folds: tuple[FoldDifference, ...]
    corrected: Outcome
    repeats: int
    repeated: Outcome | None
    note: str

    @property
    def headline(self) -> str:
        """Name of the test to report."""
        return CORRECTED if self.repeated is None else REPEATED

    @property
    def test(self) -> Outcome:
        """The test to report."""
        return self.corrected if self.repeated is None else self.repeated


def compare(table: pd.DataFrame, a: str, b: str, higher_is_better: bool = True, seed: int = 0) -> Comparison:
    """Compare two trainers case by case.

    Args:
        table: scores, as `statistics.scores` says; other trainers in it are not looked at.
        a: a trainer.
        b: another.
        higher_is_better: of the score; decides which cases count as better, nothing else.
        seed: of the bootstrap.

    Raises:
        ComparisonError: if the two were not tested on the same cases in the same folds; see `check_comparable`.
    """
    if a == b:
        raise ComparisonError(f"{a} is compared with itself; name two trainers")
    return compare_pair(pair_up(check_comparable(table, [a, b]), a, b), a, b, higher_is_better, seed)


def compare_pair(pair: Pair, a: str, b: str, higher_is_better: bool = True, seed: int = 0) -> Comparison:
    """As `compare`, of a pair from `pair_up`."""
    d = pair.difference
    folds = _fold_differences(pair)
    sizes = np.array([fold.n for fold in folds])
    repeated = repeated_t(d, pair.groups, sizes, pair.runs) if pair.repeats >= LEAST_REPEATS else None
    gain = d if higher_is_better else -d
    return Comparison(
        a,
        b,
        n=len(d),
        groups=int(pair.groups.max()) + 1,
        left_out=pair.left_out,
        mean_a=float(pair.scores[0].mean()),
        mean_b=float(pair.scores[1].mean()),
        difference=mean_estimate(d, pair.groups, seed),
        median=float(np.median(d)),
        better=int((gain > 0).sum()),
        equal=int((gain == 0).sum()),
        worse=int((gain < 0).sum()),
        dz=cohens_dz(d),
        rank_biserial=rank_biserial(d),
        wilcoxon=float(wilcoxon_p(d)),
        paired_t=paired_t(d),
        folds=folds,
        corrected=corrected_t(np.array([fold.difference for fold in folds]), sizes),
        repeats=pair.repeats,
        repeated=repeated,
        note=_note(repeated is not None, len(folds)),
    )


def _note(repeats: bool, folds: int) -> str:
    if repeats:
        return ONE_DATASET
    return ONE_TRAINING if folds > 1 else f"{ONE_TRAINING} {ONE_FOLD}"


def _fold_differences(pair: Pair) -> tuple[FoldDifference, ...]:
    parts = [pair.difference[pair.folds == code] for code in range(len(pair.fold_names))]
    return tuple(
        FoldDifference(name, len(part), float(part.mean())) for name, part in zip(pair.fold_names, parts, strict=True)
    )
