"""The table of what two stages cost."""

import csv

from nnunet_ext.cascade.record import Record, Row, foreground


def rows_of(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def test_a_table_that_is_continued_holds_each_case_once(tmp_path):
    first = Record()
    first.open(tmp_path, keep=False)
    for case, selected in (("a", 1), ("b", 2)):
        first.add(Row(case, 9, selected))
    again = Record()
    again.open(tmp_path, keep=True, new=["b", "c"])  # b was broken off before its file was written
    again.add(Row("b", 9, 3))
    rows = rows_of(tmp_path / "two_stage.csv")
    assert [(r["case"], r["selected"]) for r in rows] == [("a", "1"), ("b", "3")]
    anew = Record()
    anew.open(tmp_path, keep=False)
    assert rows_of(tmp_path / "two_stage.csv") == []


def test_processes_are_joined(tmp_path):
    said: list[str] = []
    records = [Record(said.append), Record()]
    for part, record in enumerate(records):
        record.open(tmp_path, False, part, 2)
        record.add(Row(f"case_{part}", 10, 2, 8, 4, 1.5, 0.25, [0, part]))
    records[0].join(2)
    assert [p.name for p in tmp_path.iterdir()] == ["two_stage.csv"]
    assert [r["case"] for r in rows_of(tmp_path / "two_stage.csv")] == ["case_0", "case_1"]
    records[0].finish({1: "a", 2: "b"}, 0.2, "Plan more")
    assert "2 images: 4 of 20 windows refined (20.0%); 0.5 s coarse, 3.0 s fine" in said[0]
    assert "predicted b (2) in none of the 2 images" in said[1]
    assert "Plan more, or train" in said[1]


def test_one_window_is_said_once(tmp_path):
    said = []
    record = Record(said.append)
    record.add(Row("a", 1, 1))
    record.add(Row("b", 1, 1))
    assert len(said) == 1
    assert "a: the fine network's patch holds the whole image" in said[0]


def test_labels_of_the_foreground():
    assert foreground({"background": 0, "a": 1, "ignore": 2, "both": [1, 2]}) == {1: "a"}
