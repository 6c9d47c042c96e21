import pytest

from nnunet_ext.inference.cases import CasesError, find_cases


def make(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


def test_files_are_grouped_by_case_in_order(tmp_path):
    make(tmp_path, "b_0001.png", "b_0000.png", "a_1_0000.png", "a_1_0001.png", "note.txt", "c_0000.tif", "d_000.png")
    found = find_cases(tmp_path, ".png")
    assert list(found) == ["a_1", "b"]
    assert found["b"] == [str(tmp_path / "b_0000.png"), str(tmp_path / "b_0001.png")]


def test_only_the_wanted_cases_in_the_wanted_order(tmp_path):
    make(tmp_path, "a_0000.png", "b_0000.png", "c_0000.png", "broken_0001.png")
    assert list(find_cases(tmp_path, ".png", ["c", "a"])) == ["c", "a"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(CasesError, match="nowhere: no such folder"):
        find_cases(tmp_path / "nowhere", ".png")
    with pytest.raises(CasesError, match=r"no images named as nnU-Net's, which are CASE_0000\.png"):
        find_cases(make(tmp_path, "a.png"), ".png")
    with pytest.raises(CasesError, match=r"case b lacks b_0000\.png"):
        find_cases(make(tmp_path, "a_0000.png", "b_0001.png"), ".png")
    with pytest.raises(CasesError, match=r"--cases z: not in .*, which has: a, b"):
        find_cases(tmp_path, ".png", ["z"])
