"""Tables of a curve, computed from nnU-Net's own metrics.

cases.csv, a row for each case and budget:

    case, fold, budget
    dice                    mean over the classes that occur in the case or are predicted
    dice_CLASS              a column for each class; empty where it neither occurs nor is predicted
    windows, selected       of the fine network's grid, and those that it is given
    fine_forwards, coarse_forwards, stock_forwards    images given to a network, mirrored ones counted singly; "stock":
                            the fine network on all windows
    coarse_seconds, fine_seconds, seconds

curve.csv, a row for each budget, the largest first:

    budget, cases
    dice, dice_sd, dice_lowest    mean, standard deviation (of a sample) and minimum over cases
    dice_CLASS              mean over cases
    selected                share of the windows, over all cases
    fine_forwards, coarse_forwards    a case, mean
    share_of_stock          (fine + coarse) / stock forwards, over all cases
    share_of_pixels         the same, each forward weighted by the pixels of its network's patch
    seconds                 a case, median
    times_faster            fine_seconds of all windows over `seconds`, median over cases: against the fine network
                            alone, which needs no coarse one; empty without budget 1
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from nnunet_ext.cascade.curve import Point

COUNTS = ("windows", "selected", "fine_forwards", "coarse_forwards", "stock_forwards", "coarse_seconds", "fine_seconds")


def cases_table(
    points: Mapping[float, Mapping[str, Point]], folds: Mapping[str, str],
    summaries: Mapping[float, dict[str, Any]], classes: Mapping[Any, str], ending: str,
) -> pd.DataFrame:  # fmt: skip
    """Return the table of cases.

    Args:
        points: what each case costs, by budget and case.
        folds: of each case.
        summaries: what nnU-Net's `compute_metrics_on_folder` returns, by budget.
        classes: their names by label or region, as nnU-Net has it in `metrics`.
        ending: of the files of the predictions.
    """
    rows = []
    for budget, summary in summaries.items():
        for entry in summary["metric_per_case"]:
            case = str(entry["prediction_file"]).replace("\\", "/").rsplit("/", 1)[-1].removesuffix(ending)
            point = asdict(points[budget][case])
            dice = {f"dice_{name}": entry["metrics"][key]["Dice"] for key, name in classes.items()}
            mean = pd.Series(dice, dtype=float).mean()
            seconds = point["coarse_seconds"] + point["fine_seconds"]
            rows.append(
                {"case": case, "fold": folds[case], "budget": budget, "dice": mean, **dice}
                | {name: point[name] for name in COUNTS} | {"seconds": seconds}
            )  # fmt: skip
    return pd.DataFrame(rows).sort_values(["case", "budget"], ascending=[True, False], ignore_index=True)


def curve_table(cases: pd.DataFrame, pixels: float) -> pd.DataFrame:
    """Return the table of budgets.

    Args:
        cases: of `cases_table`.
        pixels: of the coarse network's patch, as a share of the fine one's.
    """
    groups = cases.groupby("budget", sort=True)
    sums, means = groups.sum(numeric_only=True), groups.mean(numeric_only=True)
    table = pd.DataFrame({"cases": groups.size(), "dice": means["dice"], "dice_sd": groups["dice"].std()})
    table["dice_lowest"] = groups["dice"].min()
    for name in (c for c in cases.columns if c.startswith("dice_")):
        table[name] = means[name]
    table["selected"] = sums["selected"] / sums["windows"]
    table["fine_forwards"], table["coarse_forwards"] = means["fine_forwards"], means["coarse_forwards"]
    stock = sums["stock_forwards"]
    table["share_of_stock"] = (sums["fine_forwards"] + sums["coarse_forwards"]) / stock
    table["share_of_pixels"] = (sums["fine_forwards"] + pixels * sums["coarse_forwards"]) / stock
    table["seconds"] = groups["seconds"].median()
    full = cases[cases["budget"] == 1].set_index("case")["fine_seconds"]
    table["times_faster"] = (cases["case"].map(full) / cases["seconds"]).groupby(cases["budget"]).median()
    return table.sort_index(ascending=False).reset_index()


def lines_of(curve: pd.DataFrame) -> list[str]:
    """Return the curve as lines of text."""
    shown = curve.drop(columns=["cases", "dice_lowest"])
    return shown.to_string(index=False, na_rep="-", float_format=lambda v: f"{v:.4g}").splitlines()


def warnings_of(
    cases: pd.DataFrame, curve: pd.DataFrame, summary: Mapping[str, Any], classes: Mapping[Any, str]
) -> Iterator[str]:
    """Say what is to be known before the curve is believed.

    Args:
        cases: of `cases_table`.
        curve: of `curve_table`.
        summary: of budget 0, the coarse network alone.
        classes: as in `cases_table`.
    """
    for key, name in classes.items():
        found = [entry["metrics"][key] for entry in summary["metric_per_case"]]
        occurs = sum(f["n_ref"] > 0 for f in found)
        if occurs and not any(f["n_pred"] > 0 for f in found):
            yield (
                f"warning: {name} occurs in {occurs} of {len(found)} cases, and the coarse network predicts it in "
                "none. Windows are not chosen because of it, so that a small budget cannot bring it back. Train "
                "a coarse network at a smaller factor (nnunet_ext plan --two-stage --factor)."
            )
    one = cases[cases["budget"] == 0]
    single = one.loc[one["windows"] == 1, "case"].tolist()
    if single:
        yield (
            f"warning: {len(single)} of {len(one)} images, e.g. {single[0]}, fit into one window of the fine network: "
            "there is nothing to choose, and any budget above 0 refines them as a whole. `nnunet_ext plan "
            "--two-stage` plans smaller patches."
        )
    chosen = {
        b: tuple(cases.loc[cases["budget"] == b].sort_values("case")["selected"]) for b in sorted(curve["budget"])
    }
    for budget, numbers in chosen.items():
        if budget > 0 and not any(numbers):
            yield f"warning: budget {budget:g} gives the fine network no window of any image"
    for (low, a), (high, b) in itertools.pairwise(chosen.items()):
        if a == b and any(a):
            most = int(one["windows"].max())
            yield f"warning: budgets {low:g} and {high:g} choose the same windows; an image has at most {most}"
    dice = curve.set_index("budget")["dice"]
    best = dice.idxmax()
    if best < dice.index.max():
        what = "the coarse network alone" if best == 0 else f"budget {best:g}"
        yield (
            f"warning: {what} has a higher Dice ({dice[best]:.4f}) than the largest budget "
            f"({dice[dice.index.max()]:.4f}): the fine network makes windows worse. Is it trained to the end?"
        )
