"""Sartorius cell instance segmentation: neuronal cells under the phase-contrast microscope, as run lengths."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from nnunet_ext.dataset_conversion.annotations.run_lengths import RunLengths, runs_of_table, table_of
from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

COLUMNS = ("id", "annotation", "width", "height", "cell_type")


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the group is the sample (``sample_id``), if the table names it, and the structure its cells."""
    images = files_by_key(root, "train/*.png", r"train/([^/]+)\.png", problems)
    csv = root / "train.csv"
    if not images:
        return []
    try:
        table = table_of(csv, COLUMNS)
    except RefusedFile as refused:
        problems.append(refused.problem)
        return []
    for bad in table[~(table["width"].str.isdigit() & table["height"].str.isdigit())]["id"].unique():
        what, remedy = "tables with sizes that are none", "use the train.csv of the competition"
        problems.append(Problem("table-value", what, f"{csv}: width or height of {bad} is no number", remedy))
        table = table[table["id"] != bad]
    rows = runs_of_table(table, "id", "annotation")
    facts = table.drop_duplicates("id").set_index("id")
    return [
        _case(key, image, csv, rows[key], facts.loc[key])
        for key, image, mask in paired(images, dict.fromkeys(rows, csv), problems)
        if mask is not None
    ]


def _case(key: str, image: Path, csv: Path, rows: tuple[str, ...], facts: pd.Series) -> Case:
    shape = (int(facts["height"]), int(facts["width"]))
    annotation = RunLengths(csv, rows, shape, "rows")
    group, structure = str(facts.get("sample_id", "")), f"Neuronal cells, {facts['cell_type']}"
    return Case(key, ImageFile(image), annotation, "train", group, structure, "Phase-contrast microscopy")


def _layout(name: str, title: str, paper: str, share: float) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=title,
        papers=(paper,),
        reference="Howard et al., Sartorius - Cell instance segmentation, Kaggle, 2021",
        url="https://www.kaggle.com/competitions/sartorius-cell-instance-segmentation",
        licence="the competition's rules, https://www.kaggle.com/competitions/sartorius-cell-instance-segmentation/rules",
        tree="train/<id>.png\ntrain.csv (id,annotation,width,height,cell_type,...; a row for each cell)",
        version="the competition's archive; train_semi_supervised/, LIVECell_dataset_2021/ and test/ are not read",
        confirmed="public loader: several read train.csv and decode it row by row of a 520 x 704 image; not confirmed: "
        "the column sample_id (from memory; without it, images have no groups)",
        cases=find,
        counts={"train": 606},
        test_share=share,
        notes=("touching cells merge: the labels do not tell them apart", "the papers' own lists are not published"),
    )


LAYOUTS = (
    _layout("sartorius", "Sartorius, 540 and 66 images", "spatial_lifting", 66 / 606),
    _layout("sartorius_70_30", "Sartorius, 70 % and 30 %", "two_stage", 0.3),
)
