"""What `evaluate` prints: a table of classes and metrics, what its means leave out, problems, files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.cli.parser import say

if TYPE_CHECKING:
    from nnunet_ext.evaluation.evaluation_files import Evaluation

METRICS_A_TABLE = 6


def print_evaluation(evaluation: Evaluation, files: Sequence[Path]) -> None:
    """Print the averages, then what they leave out, problems and the files that were written."""
    from nnunet_ext.evaluation.problems import counted, grouped

    summary = evaluation.summary
    names = list(summary["metrics"])
    for start in range(0, len(names), METRICS_A_TABLE):
        _print_table(summary, names[start : start + METRICS_A_TABLE])
    for name in names:
        _print_left_out(name, summary)
    if "dataset" in summary:
        found = summary["dataset"]
        say(
            f"dataset: mean IoU {_number(found['mean_iou'])} over {found['n_labels']} labels, background among them; "
            f"mean accuracy {_number(found['mean_accuracy'])}; pixel accuracy {_number(found['pixel_accuracy'])}"
        )
    for line in grouped(evaluation.problems):
        say(line)
    cases = summary["cases"]
    what = f"evaluated {cases['evaluated']} of {counted(cases['of'], 'case')}"
    say(f"{what}; {counted(cases['problems'], 'problem')}")
    say(f"written to {files[0].parent}: {', '.join(path.name for path in files)}")


def _print_table(summary: dict[str, Any], names: Sequence[str]) -> None:
    units = {name: summary["metrics"][name]["unit"] for name in names}
    lines = [["mean ± sd", "cases", *(f"{name} [{units[name]}]" if units[name] else name for name in names)]]
    for title, entry in summary["classes"].items():
        values = [entry["metrics"][name] for name in names]
        lines.append([title, str(entry["n_cases"]), *(f"{_number(v['mean'])} ± {_number(v['sd'])}" for v in values)])
    means = [summary["mean_over_classes"][name] for name in names]
    if len(summary["classes"]) > 1:
        lines.append(["mean of classes", "", *(_number(value["mean"]) for value in means)])
    if any("pooled" in value for value in means):
        lines.append(["pooled", "", *(_number(value["pooled"]) if "pooled" in value else "" for value in means)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        say("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    say("")


def _print_left_out(name: str, summary: dict[str, Any]) -> None:
    found, unit = summary["mean_over_classes"][name], summary["metrics"][name]["unit"]
    if found["n_undefined"]:
        say(f"{name}: {found['n_undefined']} undefined (nothing to score), left out of mean and sd")
    if found["n_infinite"]:
        penalty = ""
        if "mean_penalised" in found:
            penalty = f"; with the image's diagonal for them, the mean is {_number(found['mean_penalised'])} {unit}"
        say(f"{name}: {found['n_infinite']} infinite, left out of mean and sd{penalty}")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
