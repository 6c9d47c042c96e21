"""The pages about the converter say what the code has."""

import re
from pathlib import Path

from nnunet_ext.dataset_conversion.datasets import all_layouts

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"\b(?:Problem|RefusedFile)\(\s*\"([a-z0-9-]+)\"")


def test_every_problem_code_is_explained():
    source = ROOT / "nnunet_ext" / "dataset_conversion"
    codes = {code for path in source.rglob("*.py") for code in CODE.findall(path.read_text())}
    page = (ROOT / "docs" / "reference" / "conversion_problems.md").read_text()
    explained = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)*)`", page))
    assert len(codes) > 90
    assert codes - explained == set()
    assert {word for word in explained if "-" in word} - codes == set()


def test_every_published_dataset_is_listed():
    page = (ROOT / "docs" / "reference" / "datasets.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == {name: row(layout) for name, layout in all_layouts().items()}


def row(layout):
    papers = ", ".join(layout.papers) or "-"
    cases = ", ".join(f"{n} {part}" for part, n in layout.counts.items()) or "not known"
    return f"{layout.title} | {papers} | {cases} | {layout.licence} | {layout.confirmed}"
