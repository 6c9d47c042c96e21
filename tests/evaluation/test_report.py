import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nnunet_ext.evaluation.figures import case_figure, learning_figure
from nnunet_ext.evaluation.report import table_html, write_atomically, write_report

NASTY = "<script>alert('x')</script> & \"Co\""


class Page(HTMLParser):
    """Collects tags with their attributes, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def inputs(tmp_path):
    pictures = []
    for index, name in enumerate(["case <1>", "case 2"]):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", (8, 8), (index, 0, 0)).save(path)
        pictures.append((name, path))
    table = pd.DataFrame(
        {
            "trainer": [NASTY, "b"],
            "Dice, mean": [0.91234, np.nan],
            "parameters": [20619000, 29537],
            "MACs (G)": [2.0, 0.5],
        }
    )
    per_case = pd.DataFrame({"method": ["a", "b"], "case": [NASTY, "y"], "Dice": [0.5, np.nan]})
    details = {"Hardware": NASTY, "Commands": f"cd x\n{NASTY}", "Notes": ["one", NASTY], "share": float("nan")}
    return NASTY, table, per_case, pictures, details


@pytest.fixture
def page_path(tmp_path, inputs):
    return write_report(tmp_path / "out", *inputs, lead=NASTY, charts=inputs[3][:1])


def test_the_page_loads_nothing_from_elsewhere(page_path):
    text = page_path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert {"script", "link", "iframe", "object"}.isdisjoint({tag for tag, _ in page.tags})
    sources = [attrs[name] for _, attrs in page.tags for name in ("src", "href", "srcset") if name in attrs]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in text
    assert "@import" not in text


def test_everything_from_the_user_is_escaped(page_path):
    page = Page(page_path.read_text(encoding="utf-8"))
    assert page.text.count(NASTY) >= 6  # title twice, lead, table, per case, three details
    assert not any("onerror" in attrs for _, attrs in page.tags)


def test_all_pictures_are_inside(page_path, inputs):
    page = Page(page_path.read_text(encoding="utf-8"))
    embedded = [base64.b64decode(a["src"].split(",")[1]) for tag, a in page.tags if tag == "img"]
    pictures = [path.read_bytes() for _, path in inputs[3]]
    assert embedded == [pictures[0], *pictures]
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == ["case <1>", "case <1>", "case 2"]


def test_the_page_suits_phones_and_dark_mode(page_path):
    text = page_path.read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "prefers-color-scheme: dark" in text


def test_numbers_stand_in_the_files(page_path, inputs):
    folder = page_path.parent
    assert pd.read_csv(folder / "results.csv")["parameters"].tolist() == [20619000, 29537]
    assert len(pd.read_csv(folder / "results_per_case.csv")) == 2
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert results["table"][0]["Dice, mean"] == pytest.approx(0.91234)
    assert results["table"][1]["Dice, mean"] is None
    assert results["details"]["share"] is None
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "results.csv",
        "results_per_case.csv",
        "results.json",
    }


def test_numbers_are_aligned_and_rounded(inputs):
    text = table_html(inputs[1])
    cells = re.findall(r'<td class="number">(.*?)</td>', text)
    assert cells == ["0.912", "20,619,000", "2.000", "n/a", "29,537", "0.500"]
    assert '<th class="number">MACs (G)</th>' in text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0, 0.5], ["0.000", "0.500"]),
        ([98.25, 1234.5], ["98.2", "1,234.5"]),
        ([1234.5, np.nan], ["1,234", "n/a"]),
        ([np.nan, np.nan], ["n/a", "n/a"]),
        ([12, 3], ["12", "3"]),
    ],
)
def test_decimals_follow_the_size(values, texts):
    assert re.findall(r"<td[^>]*>(.*?)</td>", table_html(pd.DataFrame({"x": values}))) == texts


def test_missing_and_unknown_pictures_are_named(tmp_path, inputs):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        write_report(tmp_path / "out", *inputs[:3], [("x", tmp_path / "gone.png")], {})
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        write_report(tmp_path / "out", *inputs[:3], [("x", tmp_path / "a.svg")], {})


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "a.txt", "old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_charts_take_missing_values():
    per_case = pd.DataFrame(
        {"case": ["a", "b", "a", "b"], "method": ["x", "x", "y", "y"], "Dice": [0.1, np.nan, 0.4, 0.9]}
    )
    assert case_figure(per_case).mode == "RGB"
    assert learning_figure({"x": [0.1, float("nan"), 0.3], "y": [0.5]}).size[0] > 500
