"""What is wrong with files and tables is named, and never averaged over in silence."""

import json

import numpy as np
import pytest
from evaluation_folders import REGIONS, dataset_json, make_folders, save

from nnunet_ext.evaluation.choosing import chosen_metrics
from nnunet_ext.evaluation.classes import classes_from_flags, classes_of
from nnunet_ext.evaluation.folders import evaluate_folders
from nnunet_ext.evaluation.from_summary import evaluate_summary
from nnunet_ext.evaluation.problems import EvaluationError
from nnunet_ext.evaluation.summary import SummaryError


def missing_prediction(r, p):
    (p / "case_2.png").unlink()


def missing_reference(r, p):
    (r / "case_2.png").unlink()


def other_size(r, p):
    save(p / "case_2.png", np.zeros((40, 47)))


def unknown_label_predicted(r, p):
    save(p / "case_2.png", np.full((40, 48), 7))


def unknown_label_in_reference(r, p):
    save(r / "case_2.png", np.full((40, 48), 7))


def no_picture(r, p):
    (p / "case_2.png").write_bytes(b"not a picture")


def cut_file(r, p):
    content = (r / "case_2.png").read_bytes()
    (r / "case_2.png").write_bytes(content[: len(content) // 2])


def colours(r, p):
    save(p / "case_2.png", np.zeros((40, 48, 3)))


@pytest.mark.parametrize(
    ("spoil", "code", "named"),
    [
        (missing_prediction, "prediction-missing", "case_2"),
        (missing_reference, "reference-missing", "case_2"),
        (other_size, "size", "case_2: 40 x 48 and 40 x 47"),
        (unknown_label_predicted, "labels", "case_2: 7"),
        (unknown_label_in_reference, "labels", "case_2: 7"),
        (no_picture, "unreadable", "p/case_2.png"),
        (cut_file, "unreadable", "r/case_2.png"),
        (colours, "channels", "(3)"),
    ],
)
def test_a_bad_case_is_named_and_the_others_are_scored(tmp_path, spoil, code, named):
    r, p = make_folders(tmp_path)
    whole = evaluate_folders(r, p, metrics=["dice"]).per_case
    spoil(r, p)
    found = evaluate_folders(r, p, metrics=["dice"])
    (problem,) = found.problems
    assert problem.code == code
    assert named in problem.case
    assert problem.remedy
    assert found.summary["cases"] == {"evaluated": 5, "of": 6, "problems": 1}
    assert found.summary["problems"][0]["code"] == code
    rest = whole[whole["case"] != "case_2"].reset_index(drop=True)
    assert found.per_case.equals(rest)


def test_values_that_are_no_labels(tmp_path):
    import SimpleITK

    for part, values in (("r", [[0, 1], [0, 0]]), ("p", [[0.5, 1], [0, 0]])):
        (tmp_path / part).mkdir()
        for case in "ab":
            array = np.array(values, np.float32) if case == "b" else np.eye(2, dtype=np.float32)
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / part / f"{case}.nrrd"))
    (problem,) = evaluate_folders(tmp_path / "r", tmp_path / "p").problems
    assert (problem.code, problem.case[:1]) == ("values", "b")


def test_labels_where_the_reference_ignores_do_not_matter(tmp_path):
    r, p = make_folders(tmp_path, n=2, labels=REGIONS, empty=False)
    array = np.zeros((40, 48))
    array[:7, 5:30] = 9
    save(p / "case_0.png", array)
    assert not evaluate_folders(r, p, metrics=["dice"]).problems
    array[8, 8] = 3  # the ignored label, predicted where it counts
    save(p / "case_0.png", array)
    (problem,) = evaluate_folders(r, p, metrics=["dice"]).problems
    assert (problem.code, problem.case) == ("labels", "case_0: 3, 9")


def test_one_fold_beside_all_references(tmp_path):
    r, p = make_folders(tmp_path)
    for index in (0, 3):
        (p / f"case_{index}.png").unlink()
    found = evaluate_folders(r, p, metrics=["dice"], chill=True)
    assert not found.problems
    assert found.summary["cases"] == {"evaluated": 4, "of": 4, "problems": 0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"references": "nowhere"}, "nowhere is no folder"),
        ({"references": "p"}, "same folder"),
        ({"dataset_json": "none.json"}, "no dataset.json at"),
        ({"dataset_json": "cases.csv"}, "is not a dataset.json"),
        ({"metrics": ["assd"]}, "Do you mean assd_mean_of_means or assd_pooled"),
        ({"metrics": ["sensitivity"]}, "Do you mean recall"),
        ({"metrics": []}, "no metric"),
        ({"metrics": ["mean_iou"]}, "under `dataset`"),
        ({"labels": ["a=x"]}, "NAME=LABEL"),
        ({"labels": ["a=1", "a=2"]}, "name of its own"),
        ({"ignore": 1}, "choose another --ignore"),
        ({"spacing": [1, 1, 1]}, "a number for each axis"),
        ({"by": ["organ"], "cases": "cases.csv"}, "no column 'organ'"),
        ({"by": ["class"], "cases": "cases.csv"}, "no column 'class'"),
        ({"by": ["organ"]}, "no table of cases at"),
        ({"cases": "twice.csv"}, "stands twice"),
    ],
)
def test_what_stops_an_evaluation(tmp_path, change, says):
    r, p = make_folders(tmp_path / "d", n=2)
    (tmp_path / "d" / "cases.csv").write_text("case,class,structure\ncase_0,1,a\n")
    (tmp_path / "d" / "twice.csv").write_text("case,structure\ncase_0,a\ncase_0,b\n")
    for key in ("references", "dataset_json", "cases"):
        if key in change:
            change = {**change, key: tmp_path / "d" / change[key]}
    if "cases" not in change and "by" in change:
        (tmp_path / "d" / "cases.csv").unlink()
    with pytest.raises(EvaluationError, match=says):
        evaluate_folders(**{"references": r, "predictions": p, **change})


def test_folders_without_files_of_one_kind(tmp_path):
    r, p = make_folders(tmp_path, n=1)
    (p / "case_0.png").rename(p / "case_0.nii.gz")
    with pytest.raises(EvaluationError, match=r"holds no \.png file \(others: 1 \.nii\.gz\)"):
        evaluate_folders(r, p)
    dataset_json(p, overwrite_image_reader_writer="NoReaderIO")
    (p / "case_0.nii.gz").rename(p / "case_0.png")
    with pytest.raises(EvaluationError, match="NoReaderIO"):
        evaluate_folders(r, p)


def test_pictures_are_no_references(tmp_path):
    ramp = np.arange(300 * 10).reshape(300, 10) % 65536
    from PIL import Image

    for part in "rp":
        (tmp_path / part).mkdir()
        Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / part / "a.png")
    with pytest.raises(EvaluationError, match="as pictures do"):
        evaluate_folders(tmp_path / "r", tmp_path / "p")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"background": 0}, "no class beside background"),
        ({"background": 0, "a": 1, "ignore": [2, 3]}, "one label"),
        ({"background": 0, "a": -1}, "whole numbers"),
        ({"background": 0, "a": "x"}, "whole numbers"),
        ({"background": 0, "a": 1, "ignore": 1}, "ignored"),
    ],
)
def test_bad_labels(labels, says):
    with pytest.raises(EvaluationError, match=says):
        classes_of(labels)


def test_known_labels_of_flags():
    found = classes_from_flags(["1", "whole=1,2"], None, {"background": 0, "a": 1, "b": 2, "c": 4, "ignore": 5})
    assert (found.known, found.ignore) == ((0, 1, 2, 4), 5)
    assert found.keys == {"1": "1", "whole": "(1, 2)"}
    assert found.names == {0: "background", 1: "1", 2: "b", 4: "c"}


def test_sets_of_metrics():
    counts = chosen_metrics(["counts"])
    assert {"dice", "conformity", "jaccard", "f_beta03", "mae", "rvd"} <= set(counts)
    assert chosen_metrics(["dice", "counts"])[0] == "dice"
    assert {"hd", "soft_dice"} & set(chosen_metrics(["all"])) == {"hd"}
    assert {"hd", "soft_dice"} <= set(chosen_metrics(["all"], probabilities=True))
    assert set(chosen_metrics(["all"], images=False)) == set(counts)
    with pytest.raises(EvaluationError, match="-r and -p"):
        chosen_metrics(["hd"], images=False)


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"1": {"Dice": 1, "IoU": 1}}, "is damaged: a case lacks"),
        ({"1": {"TP": float("nan"), "FP": 0, "FN": 0, "TN": 1, "n_pred": 1, "n_ref": 1}}, "is damaged: a case lacks"),
        ({"1": None}, "is damaged: a case lacks"),
        ([], "is damaged: a case lacks"),
        ({"1": {"TP": -1, "FP": 0, "FN": 0, "TN": 1, "n_pred": 1, "n_ref": 1}}, "negative counts"),
    ],
)
def test_corrupt_summaries(tmp_path, metrics, says):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"metric_per_case": [{"prediction_file": "a.png", "metrics": metrics}]}))
    with pytest.raises(SummaryError, match=says):
        evaluate_summary(path)


def test_a_summary_that_is_not_there(tmp_path):
    with pytest.raises(SummaryError, match=r"No summary\.json"):
        evaluate_summary(tmp_path / "summary.json")


def test_other_peoples_files_are_left_alone(tmp_path):
    r, p = make_folders(tmp_path, n=2)
    found = evaluate_folders(r, p, metrics=["dice"])
    out = tmp_path / "out"
    found.write(out)
    found.write(out)  # ours may be replaced
    (p / "summary.json").write_text('{"metric_per_case": []}')
    with pytest.raises(EvaluationError, match="something else"):
        found.write(p)
    assert sorted(path.name for path in p.iterdir()) == ["case_0.png", "case_1.png", "dataset.json", "summary.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="cannot be written"):
        found.write(tmp_path / "file" / "out")
