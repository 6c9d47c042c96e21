"""The page of a report on trainers: one HTML file with everything inside it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from nnunet_ext.evaluation import comparison_figures as charts
from nnunet_ext.evaluation import figures
from nnunet_ext.evaluation.case_scores import higher_is_better
from nnunet_ext.evaluation.html_parts import (
    details_html,
    document,
    figure,
    folded,
    notice,
    overlay_section,
    paragraph,
    section,
    table_html,
)
from nnunet_ext.evaluation.trainer_results import Results
from nnunet_ext.evaluation.trainer_tables import NOTHING, difference_table, duration, interval

MOST_ROWS = 200  # of the table of cases
PARTIAL = "Read this first: not everything could be compared (--partial)"


def trainer_page(results: Results) -> str:
    """Return the page as text."""
    material = results.material
    parts = [
        paragraph(lead(results)),
        notice(PARTIAL, list(material.warnings)),
        notice("To know when reading the numbers", results.notes),
        section("Scores", table_html(results.scores) + paragraph(HOW_SCORES.format(metric=material.metric), True)),
        section(f"Compared with {material.baseline}", _comparisons(results)),
        section("Cost", table_html(results.costs) + paragraph(HOW_COSTS, True)),
        section("Cases and folds", _case_charts(results)),
        section("Classes", _classes(results)),
        section(f"By {material.by[0]}" if material.by else "", _groups(results)),
        section("Worst, median and best cases", _overlays(results)),
        section("Learning curves", _curves(results)),
        section("Quality scores beside true Dice", _quality(results)),
        section("Every case", _every_case(results)),
        section("Trainings", folded(f"{len(material.runs)} folds", table_html(_runs(results)))),
        details_html(material.about),
    ]
    return document(f"{material.dataset}: trainers compared", parts)


def lead(results: Results) -> str:
    """Return what was compared, and the highest score, in words."""
    material, metric = results.material, results.material.metric
    column = results.scores[f"{metric}, mean"]
    folds = sorted({run.fold for run in material.runs})
    cases = results.cases["case"].nunique()
    counted = f"{_count(len(results.trainers), 'trainer')}, {_count(cases, 'case')}, fold{'s' * (len(folds) > 1)} " + (
        ", ".join(folds)
    )
    if column.isna().all():
        return f"{counted}. No case has a defined {metric}."
    better = higher_is_better(metric)
    best = results.scores.iloc[int(column.argmax() if better else column.argmin())]
    bounds = f", 95 % interval {best['95 % interval']}" if best["95 % interval"] != NOTHING else ""
    words = "Highest" if better else "Lowest"
    own = " These are the cases that the networks were trained on." if "all" in folds else ""
    return f"{counted}. {words} mean {metric}: {best['trainer']}, {best[f'{metric}, mean']:.3f}{bounds}.{own}"


HOW_SCORES = (
    "A case's score is the mean over its classes; the mean is over all cases of all folds, the interval is a bootstrap "
    "over groups of cases (cases.csv; single cases where no groups are known). sd over folds: of the folds' means. "
    "Cases without a {metric} are counted as undefined and left out, as nnU-Net does. IoU, precision, recall, "
    "specificity, F0.3 (beta squared 0.3), "
    "E-measure (of the mask) and MAE (share of wrong pixels) follow from the counts in "
    "summary.json, class by class against the rest."
)
HOW_COSTS = (
    "GMACs: billions of multiply-accumulates of one forward pass of one patch. Training: sum of the epochs' times in "
    "nnU-Net's logs, mean over folds. Validation: from the first case to the end of nnU-Net's validation (mirroring, "
    "writing and scoring included) over its cases. Memory: from manifests, which trainers of nnunet_ext leave; "
    f"{NOTHING} where nothing tells."
)
HOW_COMPARED = (
    "Differences are trainer minus baseline, of the same cases; the interval is a bootstrap over groups of cases. The "
    "p of methods ({tests}) is the one to report; Wilcoxon's signed rank and the paired t test are of these trained "
    "networks. All p-values are adjusted for the number of trainers (Holm)."
)


def _comparisons(results: Results) -> str:
    compared = results.compared
    if compared is None:
        return paragraph("One trainer only: there is nothing to compare it with.")
    notes = "".join(notice("What the p-values cannot say", [note]) for note in dict.fromkeys(compared["note"]) if note)
    how = HOW_COMPARED.format(tests=", ".join(dict.fromkeys(compared["headline"])))
    return table_html(difference_table(compared, results.material.metric)) + paragraph(how, True) + notes


def _case_charts(results: Results) -> str:
    metric, baseline = results.material.metric, results.material.baseline
    cases = results.cases.rename(columns={"trainer": "method", "score": metric})
    many = cases["case"].nunique() > figures.MOST_CASES
    drawn = figures.distribution_figure(cases, metric) if many else figures.case_figure(cases, metric)
    caption = f"How many cases score up to a {metric}" if many else f"{metric} of every case"
    html = figure(caption, drawn, "chart")
    if results.cases["fold"].nunique() > 1:
        html += figure(f"Mean {metric} of each fold", charts.fold_figure(results.cases, metric), "chart")
    pairs = [name for name in results.trainers if name != baseline]
    drawings = [
        (f"{name} against {baseline}, a point a case", charts.scatter_figure(results.cases, name, baseline, metric))
        for name in pairs
    ]
    return html + _side_by_side(drawings)


def _side_by_side(drawings: list[tuple[str, Any]]) -> str:
    inner = "".join(figure(caption, picture, "chart small") for caption, picture in drawings)
    return f'<div class="pair">{inner}</div>' if inner else ""


def _classes(results: Results) -> str:
    table = table_html(results.classes)
    if results.classes["class"].nunique() < 2:
        return table
    metric = results.material.metric
    drawn = charts.bar_figure(results.classes, "class", f"{metric}, mean")
    return figure(f"Mean {metric} of each class", drawn, "chart") + table


def _groups(results: Results) -> str:
    if results.groups is None or results.material.by is None:
        return ""
    by, metric = results.material.by[0], results.material.metric
    value = f"{metric}, mean"
    drawn = charts.bar_figure(results.groups, by, value)
    table = results.groups.assign(
        **{"95 % interval": [interval(*p) for p in zip(results.groups["low"], results.groups["high"], strict=True)]}
    )
    order = [by, "trainer", value, "95 % interval", "sd over cases", "cases", "undefined"]
    return figure(f"Mean {metric} by {by}, with 95 % intervals", drawn, "chart") + table_html(table[order])


def _overlays(results: Results) -> str:
    return overlay_section(results.material.overlays) or paragraph("No pictures: see the warnings of the command.")


def _curves(results: Results) -> str:
    means, bands = results.curves
    if not means:
        return ""
    caption = "Pseudo Dice while training: nnU-Net's estimate on patches of validation cases"
    caption += "; mean of the folds, the band spans them" if bands else ""
    return figure(caption, figures.learning_figure(means, bands=bands), "chart")


def _quality(results: Results) -> str:
    if results.quality.empty:
        return ""
    drawn = charts.quality_figure(results.quality)
    caption = "Quality score of a prediction, without any reference, beside its true Dice"
    table = results.correlations
    if not table["remark"].any():
        table = table.drop(columns="remark")
    return figure(caption, drawn, "chart small") + table_html(table)


def _every_case(results: Results) -> str:
    wide = results.cases.pivot_table(index=["case", "fold"], columns="trainer", values="score", dropna=False)
    wide = wide[results.trainers].dropna(how="all")
    better = higher_is_better(results.material.metric)
    order = wide.mean(axis=1).sort_values(ascending=better, kind="stable").index
    shown = wide.loc[order[:MOST_ROWS]].reset_index()
    shown.columns.name = None
    left = len(wide) - len(shown)
    rest = f", the worst {len(shown)} of {len(wide)}; report.csv has all" if left else ""
    return folded(f"{results.material.metric} of {len(shown)} cases{rest}, worst first", table_html(shown))


def _runs(results: Results) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trainer": run.name,
            "configuration": run.model.configuration,
            "plans": run.model.plans,
            "fold": run.fold,
            "repeat": run.repeat,
            "cases": len(run.cases),
            "epochs": str(len(run.log.seconds) or NOTHING),
            "training": duration(run.log.training_seconds),
            "device": str(run.manifest.get("device_name", NOTHING)),
            "started": str(run.manifest.get("started", NOTHING)),
            "versions": ", ".join(f"{k} {v}" for k, v in run.manifest.get("versions", {}).items()) or NOTHING,
        }
        for run in results.material.runs
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
