"""The files of a report on trainers: a page, its numbers as CSV, and a table for a paper in Markdown."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from nnunet_ext.evaluation.report import write_atomically
from nnunet_ext.evaluation.trainer_page import lead, trainer_page
from nnunet_ext.evaluation.trainer_results import Material, Results
from nnunet_ext.evaluation.trainer_tables import NOTHING, difference_table, signed

PAGE, TABLE, COMPARISONS, MARKDOWN = "report.html", "report.csv", "comparisons.csv", "report.md"


def write_trainer_report(folder: Path, material: Material) -> Path:
    """Write `report.html`, `report.csv`, `comparisons.csv` and `report.md`; return the page's path.

    report.csv has a row for each trainer, fold, case and class; comparisons.csv what `statistics.compare_all` returns,
    only its head for a single trainer. Each file is written under a temporary name and then renamed, the page last.

    Raises:
        ComparisonError: if the scores cannot be compared.
    """
    results = Results(material)
    page, text = trainer_page(results), markdown(results)  # before anything is written
    compared = results.compared
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / TABLE, material.table.to_csv(index=False))
    empty = pd.DataFrame(columns=["a", "b"])
    write_atomically(folder / COMPARISONS, (empty if compared is None else compared).to_csv(index=False))
    write_atomically(folder / MARKDOWN, text)
    return write_atomically(folder / PAGE, page)


def markdown(results: Results) -> str:
    """Return the scores as a table for a paper, with what must be said beside it."""
    material, metric = results.material, results.material.metric
    differences = {}
    if results.compared is not None:
        shown = difference_table(results.compared, metric)
        differences = {row["trainer"]: row for row in shown.to_dict("records")}
    head = ["trainer", f"{metric}, mean (95 % interval)", "sd over cases", f"difference to {material.baseline}"]
    head += ["p of methods (Holm)", "parameters", "GMACs"]
    costs = results.costs.set_index("trainer")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in results.scores.to_dict("records"):
        name = row["trainer"]
        other = differences.get(name)
        mean = NOTHING if math.isnan(row[f"{metric}, mean"]) else f"{row[f'{metric}, mean']:.3f}"
        bounds = f" ({row['95 % interval']})" if row["95 % interval"] != NOTHING else ""
        change = (
            NOTHING if other is None else f"{other[f'difference in {metric}']} ({other['95 % interval over cases']})"
        )
        cells = [name, mean + bounds, signed(row["sd over cases"]).lstrip("+"), change]
        cells += [NOTHING if other is None else other["p of methods"]]
        cells += [costs.loc[name, "parameters"], costs.loc[name, "GMACs a patch"]]
        lines.append(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |")
    notes = [] if results.compared is None else [note for note in dict.fromkeys(results.compared["note"]) if note]
    said = [*material.warnings, *results.notes, *notes]
    return "\n\n".join([f"# {material.dataset}", lead(results), "\n".join(lines), *said]) + "\n"
