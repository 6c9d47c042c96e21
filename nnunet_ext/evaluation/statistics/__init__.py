"""Honest comparisons of trainers: pure functions of tables of scores, without nnU-Net.

`summarise` describes each trainer, `compare` two of them, `compare_all` all. What a table of scores is stands in
`statistics.scores`; which test says what, and how often it is wrong, in docs/benchmarks/statistics.md.
"""

from nnunet_ext.evaluation.statistics.comparison import (
    CORRECTED,
    ONE_DATASET,
    ONE_FOLD,
    ONE_TRAINING,
    REPEATED,
    Comparison,
    FoldDifference,
    compare,
)
from nnunet_ext.evaluation.statistics.families import compare_all, holm
from nnunet_ext.evaluation.statistics.paired import Outcome
from nnunet_ext.evaluation.statistics.scores import COLUMNS, ComparisonError, check_comparable, check_scores
from nnunet_ext.evaluation.statistics.summaries import summarise

__all__ = [
    "COLUMNS",
    "CORRECTED",
    "ONE_DATASET",
    "ONE_FOLD",
    "ONE_TRAINING",
    "REPEATED",
    "Comparison",
    "ComparisonError",
    "FoldDifference",
    "Outcome",
    "check_comparable",
    "check_scores",
    "compare",
    "compare_all",
    "holm",
    "summarise",
]
