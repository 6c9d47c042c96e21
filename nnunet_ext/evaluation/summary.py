"""nnU-Net's `summary.json` as tables: one row per case and class, and aggregates over cases.

Undefined Dice: where a class is absent from both the reference and the prediction, Dice and IoU are 0/0.
nnU-Net writes NaN there and leaves the case out of its means. `aggregate` does the same by default and counts
these cases in `n_undefined`, so that a mean over few defined cases is seen as such.
"""

import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

COUNTS = ("TP", "FP", "FN", "TN", "n_pred", "n_ref")
SCORES = ("Dice", "IoU")
Undefined = Literal["exclude", "one"]


class SummaryError(ValueError):
    """A file is not a `summary.json` of nnU-Net, or holds no case."""


def read_summary(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a `summary.json` that `nnUNetv2_evaluate_folder` or nnU-Net's validation wrote.

    Returns one row per case and class, in the file's order, with the columns `case` (str: file name without
    its ending), `label` (str: "1", or "(1, 2)" for a region, as nnU-Net writes it), `Dice` and `IoU`
    (float64 in [0, 1], NaN where undefined), `TP`, `FP`, `FN`, `TN`, `n_pred`, `n_ref` (int64, pixels or
    voxels).

    Raises `FileNotFoundError` if there is no such file and `SummaryError` if it is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No summary.json at {path}. nnU-Net writes it with: "
            "nnUNetv2_evaluate_folder REFERENCES PREDICTIONS -djfile dataset.json -pfile plans.json"
        )
    cases = _cases(path)
    try:
        rows = [_row(case, label, metrics) for case in cases for label, metrics in case["metrics"].items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SummaryError(
            f"{path} is damaged: a case lacks one of {', '.join(COUNTS)}, or it is no whole number "
            f"({type(error).__name__}: {error}). Write it anew with nnUNetv2_evaluate_folder."
        ) from error
    return pd.DataFrame(rows, columns=["case", "label", *SCORES, *COUNTS])


def aggregate(per_case: pd.DataFrame, undefined: Undefined = "exclude") -> pd.DataFrame:
    """Aggregate the rows of `read_summary` over the cases of each class.

    Returns one row per `label` with `n_cases`, `n_undefined` (cases whose class is absent from reference
    and prediction), `Dice_mean`, `Dice_sd`, `IoU_mean`, `IoU_sd` (over cases; sd with n - 1 in the
    denominator, NaN for fewer than two cases), `Dice_pooled`, `IoU_pooled` (from the counts summed over
    cases) and the summed `TP`, `FP`, `FN`, `TN`. With `undefined="exclude"` (nnU-Net's own choice) undefined
    cases enter neither mean nor sd; with `"one"` they count as 1, a correctly predicted absence.

    Raises `ValueError` for another `undefined`.
    """
    if undefined not in ("exclude", "one"):
        raise ValueError(f"aggregate: undefined={undefined!r}; allowed are 'exclude' (nnU-Net's) and 'one'")
    rows = [_aggregate_label(label, group, undefined) for label, group in per_case.groupby("label", sort=False)]
    return pd.DataFrame(rows)


def foreground_scores(per_case: pd.DataFrame) -> pd.DataFrame:
    """Average the classes of each case: columns `case`, `Dice`, `IoU`, one row per case in the given order.

    Undefined classes are left out of a case's mean; a case without any defined class gets NaN.
    """
    means = per_case.groupby("case", sort=False)[list(SCORES)].mean()
    return means.reset_index()


def _cases(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cases = content["metric_per_case"]
        assert all("metrics" in case for case in cases)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise SummaryError(
            f"{path} is not a summary.json of nnU-Net: it needs the key 'metric_per_case', a list of cases "
            "with 'metrics'. Write it anew with nnUNetv2_evaluate_folder."
        ) from error
    if not cases:
        raise SummaryError(f"{path} holds no case: was the prediction folder empty?")
    return cases


def _row(case: dict[str, Any], label: str, metrics: dict[str, Any]) -> dict[str, Any]:
    scores = {name: np.nan if metrics.get(name) is None else float(metrics[name]) for name in SCORES}
    counts = {name: int(metrics[name]) for name in COUNTS}
    return {"case": _case_name(case), "label": str(label), **scores, **counts}


def _case_name(case: dict[str, Any]) -> str:
    name = Path(case.get("prediction_file") or case.get("reference_file") or "unnamed").name
    return name.removesuffix(".gz").rsplit(".", 1)[0]


def _aggregate_label(label: Any, group: pd.DataFrame, undefined: Undefined) -> dict[str, Any]:
    total = group[["TP", "FP", "FN", "TN"]].sum()
    row: dict[str, Any] = {
        "label": label,
        "n_cases": len(group),
        "n_undefined": int(group["Dice"].isna().sum()),
    }
    for name in SCORES:
        values = group[name].fillna(1.0) if undefined == "one" else group[name]
        row |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std(ddof=1)}
    errors = total["FP"] + total["FN"]
    row["Dice_pooled"] = _ratio(2 * total["TP"], 2 * total["TP"] + errors)
    row["IoU_pooled"] = _ratio(total["TP"], total["TP"] + errors)
    return row | {name: int(total[name]) for name in ("TP", "FP", "FN", "TN")}


def _ratio(numerator: int, denominator: int) -> float:
    return float(numerator / denominator) if denominator else float("nan")
