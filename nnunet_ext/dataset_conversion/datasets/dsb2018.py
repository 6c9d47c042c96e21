"""2018 Data Science Bowl (DSB2018, BOWL2018, BBBC038): nuclei of many kinds, with a mask file for each nucleus."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.run_lengths import RunLengths, runs_of_table, table_of
from nnunet_ext.dataset_conversion.annotations.several_files import InstanceFiles
from nnunet_ext.dataset_conversion.cases import Annotation, Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout, Finder
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

MASK_TREE = "stage1_train/<ImageId>/images/<ImageId>.png\nstage1_train/<ImageId>/masks/*.png (one nucleus each)"
RLE_TREE = "stage1_train/<ImageId>/images/<ImageId>.png\nstage1_train_labels.csv (ImageId,EncodedPixels)"


def find(
    root: Path, problems: list[Problem], train_table: str = "", test: str = "", test_table: str = ""
) -> list[Case]:
    """Find all cases.

    Args:
        root: folder that holds ``stage1_train``.
        problems: what is wrong is appended here.
        train_table: CSV of run lengths to use instead of the mask files.
        test: folder of the test images, if they are wanted.
        test_table: CSV with the run lengths of the test images.
    """
    images = _images(root, "stage1_train", problems)
    by_table = bool(train_table)
    annotations = _from_table(root / train_table, problems) if by_table else _from_files(root, images, problems)
    cases = _cases(images, annotations, "train", problems)
    if test:
        solution = _from_table(root / test_table, problems)
        cases += _cases(_images(root, test, problems), solution, "test", problems)
    return cases


def _images(root: Path, folder: str, problems: list[Problem]) -> dict[str, Path]:
    return files_by_key(root, f"{folder}/*/images/*.png", rf"{folder}/([^/]+)/images/\1\.png", problems)


def _from_files(root: Path, images: dict[str, Path], problems: list[Problem]) -> dict[str, Annotation]:
    masks: dict[str, list[Path]] = {}
    for path in sorted(root.glob("stage1_train/*/masks/*.png")):
        if not path.name.startswith("."):
            masks.setdefault(path.parts[-3], []).append(path)
    if images and not masks:
        where = f"{root / 'stage1_train/*/masks/*.png'}: no such file"
        remedy = "add the masks; if you have stage1_train_labels.csv instead, pass --dataset dsb2018_rle"
        problems.append(Problem("layout-not-found", "files of the data set not found", where, remedy))
    return {key: InstanceFiles(tuple(paths)) for key, paths in masks.items()}


def _from_table(csv: Path, problems: list[Problem]) -> dict[str, Annotation]:
    """Run lengths by image; images that were not scored, "Ignored" in the column Usage, are left out."""
    try:
        table = table_of(csv, ("ImageId", "EncodedPixels"))
    except RefusedFile as refused:
        problems.append(refused.problem)
        return {}
    if "Usage" in table:
        table = table[table["Usage"] != "Ignored"]
    return {key: RunLengths(csv, rows) for key, rows in runs_of_table(table, "ImageId", "EncodedPixels").items()}


def _cases(
    images: dict[str, Path], annotations: dict[str, Annotation], split: str, problems: list[Problem]
) -> list[Case]:
    if split == "test":  # a table names the images that count; the others were put there to deter labelling by hand
        images = {key: path for key, path in images.items() if key in annotations}
    named = {key: annotation.files[0] for key, annotation in annotations.items()}
    return [
        Case(key, ImageFile(image), annotations[key], split, "", "Nuclei", "Microscopy")
        for key, image, mask in paired(images, named, problems)
        if mask is not None
    ]


def _layout(
    name: str, title: str, cases: Finder, tree: str, papers: tuple[str, ...] = (), share: float | None = None
) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=title,
        papers=papers,
        reference="Caicedo et al., Nucleus segmentation across imaging experiments, Nature Methods 16, 2019",
        url="https://bbbc.broadinstitute.org/BBBC038",
        licence="CC0, https://bbbc.broadinstitute.org/BBBC038",
        tree=tree,
        version="the zips of Kaggle or of BBBC038 version 1; a copy with mended masks has 664 images to train",
        confirmed="public documentation: Kaggle's description of the files, at "
        "https://geeksrepos.com/nathanieljevans/Nuclei-Segmentation; columns of the solutions from public loaders; the "
        "images of a public copy seen",
        cases=cases,
        counts={"train": 670},
        test_share=share,
        notes=("touching nuclei merge: the labels do not tell them apart",),
    )


def _with_test(folder: str, table: str) -> tuple[Finder, str]:
    tree = f"{MASK_TREE}\n{folder}/<ImageId>/images/<ImageId>.png\n{table} (ImageId,EncodedPixels,...,Usage)"
    return partial(find, test=folder, test_table=table), tree


_BY_TABLE = partial(find, train_table="stage1_train_labels.csv")
LAYOUTS = (
    _layout("dsb2018", "Data Science Bowl 2018, 600 and 70 images", find, MASK_TREE, ("spatial_lifting",), 70 / 670),
    _layout("bowl2018", "Data Science Bowl 2018, 70 % and 30 %", find, MASK_TREE, ("two_stage",), 0.3),
    _layout("dsb2018_rle", "Data Science Bowl 2018, run lengths instead of masks", _BY_TABLE, RLE_TREE, (), 70 / 670),
    _layout(
        "dsb2018_stage1",
        "Data Science Bowl 2018 with the test of stage 1",
        *_with_test("stage1_test", "stage1_solution.csv"),
    ),
    _layout(
        "dsb2018_stage2",
        "Data Science Bowl 2018 with the test of stage 2",
        *_with_test("stage2_test_final", "stage2_solution_final.csv"),
    ),
)
