"""Finished folds: what is found, and everything that keeps them from being compared, by name."""

import json

import pytest
from made_results import DATASET, LOG, write_fold

from nnunet_ext.evaluation.collect import CollectError, find_models
from nnunet_ext.evaluation.collected import collect, common, read_splits
from nnunet_ext.evaluation.long_table import long_table, read_cases

FOLDS = {0: ["a", "b"], 1: ["c", "d"]}
SPLITS = [{"train": ["c", "d"], "val": ["a", "b"]}, {"train": ["a", "b"], "val": ["c", "d"]}]
GOOD = (8, 2, 2)


@pytest.fixture
def results(tmp_path):
    for trainer in ("nnUNetTrainerA", "nnUNetTrainerB"):
        for fold, cases in FOLDS.items():
            write_fold(tmp_path, trainer, fold, dict.fromkeys(cases, GOOD))
    return tmp_path


def collected(results, folds=(), splits=SPLITS, **wanted):
    return collect([find_models(results / DATASET, **wanted)], "901", folds, splits)


def summary_of(results, trainer="nnUNetTrainerB", fold=1):
    return results / DATASET / f"{trainer}__nnUNetPlans__2d" / f"fold_{fold}" / "validation" / "summary.json"


def edit(path, change):
    content = json.loads(path.read_text())
    change(content["metric_per_case"])
    path.write_text(json.dumps(content))


def keys(found):
    return [(run.name.removeprefix("nnUNetTrainer"), run.fold, run.repeat) for run in found.runs]


def the_problem(found):
    assert len(found.problems) == 1, [str(p) for p in found.problems]
    return str(found.problems[0])


def test_all_that_fits_is_read(results):
    found = collected(results)
    assert found.problems == ()
    assert found.names == ("nnUNetTrainerA", "nnUNetTrainerB")
    assert keys(found) == [(trainer, fold, 0) for trainer in "AB" for fold in "01"]
    assert found.runs[0].cases == ["a", "b"]
    table = long_table(found.runs)
    assert len(table) == 8
    assert table["group"].tolist() == table["case"].tolist()
    assert common(found).runs == found.runs


def test_folds_all_and_folders_that_are_no_models_are_not_taken(results):
    write_fold(results, "nnUNetTrainerA", "all", dict.fromkeys("abcd", GOOD))
    (results / DATASET / "ensembles" / "a__b__c___d").mkdir(parents=True)
    (results / DATASET / "nnUNetTrainerC__nnUNetPlans__2d").mkdir()
    assert collected(results).folds == ("0", "1")
    only = collected(results, ["all"], trainers=["nnUNetTrainerA"])
    assert [run.fold for run in only.runs] == ["all"]


def test_models_of_one_trainer_are_told_apart(results):
    write_fold(results, "nnUNetTrainerA", 0, dict.fromkeys(FOLDS[0], GOOD), configuration="2d_small")
    names = collected(results, ["0"]).names
    assert names == ("nnUNetTrainerA 2d", "nnUNetTrainerA 2d_small", "nnUNetTrainerB")


def test_what_was_asked_for_and_is_not_there_is_named(results):
    with pytest.raises(CollectError, match=r"-tr nnUNetTrainerX: not trained.*\n  -tr nnUNetTrainerA -p nnUNetPlans"):
        collected(results, trainers=["nnUNetTrainerX"])
    with pytest.raises(CollectError, match="-c 3d: not trained"):
        collected(results, configurations=["3d"])
    with pytest.raises(CollectError, match=r"no fold of folds 7 is finished.*\n  nnUNetv2_train 901 2d 7"):
        collected(results, ["7"])


def test_nothing_at_all(tmp_path):
    with pytest.raises(CollectError, match=r"holds no trained model\. Type: nnUNetv2_train"):
        find_models(tmp_path)
    folder = write_fold(tmp_path, "nnUNetTrainerA", 0, {"a": GOOD})
    (folder / "validation" / "summary.json").unlink()
    with pytest.raises(CollectError, match=r"no fold is finished.*\n  nnUNetv2_train 901 2d 0 .*--val"):
        collected(tmp_path)


@pytest.mark.parametrize(
    ("checkpoints", "flag"), [([], ""), (["latest"], " --c"), (["best"], " --c"), (["latest", "final"], " --val")]
)
def test_missing_folds_come_with_the_command_that_is_next(results, checkpoints, flag):
    summary_of(results).unlink()
    (summary_of(results).parents[1] / "checkpoint_final.pth").unlink()
    for name in checkpoints:
        (summary_of(results).parents[1] / f"checkpoint_{name}.pth").touch()
    problem = the_problem(collected(results))
    assert "nnUNetTrainerB__nnUNetPlans__2d lacks fold 1" in problem
    assert problem.endswith(f"nnUNetv2_train 901 2d 1 -tr nnUNetTrainerB{flag}")
    assert keys(common(collected(results))) == [("A", "0", 0), ("B", "0", 0)]


NO_SUMMARIES = ["", "{", "[]", '{"metric_per_case": []}', '{"metric_per_case": [{"metrics": {"1": {}}}]}',
                '{"metric_per_case": [{"metrics": {"1": {"TP": NaN}}}]}']  # fmt: skip


@pytest.mark.parametrize("content", NO_SUMMARIES)
def test_a_corrupt_summary_is_named_and_validated_again(results, content):
    summary_of(results).write_text(content)
    problem = the_problem(collected(results))
    assert str(summary_of(results)) in problem
    assert problem.endswith("nnUNetv2_train 901 2d 1 -tr nnUNetTrainerB --val")
    assert common(collected(results)).folds == ("0",)


def test_scores_that_are_nan_though_there_is_something_to_score(results):
    edit(summary_of(results), lambda cases: cases[0]["metrics"]["1"].update(Dice=float("nan")))
    problem = the_problem(collected(results))
    assert "the Dice of 1 case (c) is NaN, though the class is there" in problem
    assert common(collected(results)).folds == ("0",)


def test_scores_that_are_not_those_of_their_counts(results):
    edit(summary_of(results), lambda cases: cases[1]["metrics"]["1"].update(Dice=0.99))
    assert "the Dice of 1 case (d) is not that of its counts" in the_problem(collected(results))


def test_a_case_that_stands_twice(results):
    edit(summary_of(results), lambda cases: cases.append(cases[0]))
    assert "1 case (c) stands there twice" in the_problem(collected(results))


def test_scores_of_an_earlier_training(results):
    folder = summary_of(results).parents[1]
    (folder / "training_log_2026_1_2_10_00_00.txt").write_text(LOG.format(epoch=0, dice=0.1, seconds=1))
    (folder / "checkpoint_final.pth").rename(folder / "checkpoint_latest.pth")
    problem = the_problem(collected(results))
    assert "is older than the training" in problem
    assert problem.endswith(f"nnUNetv2_train {DATASET} 2d 1 -tr nnUNetTrainerB --c")
    assert common(collected(results)).folds == ("0",)


def test_a_class_that_is_in_neither_mask_is_no_problem(results):
    edit(summary_of(results), lambda cases: cases[0]["metrics"]["1"].update(Dice=None, TP=0, FP=0, FN=0))
    assert collected(results).problems == ()


def test_unequal_case_sets(results):
    edit(summary_of(results), lambda cases: cases.pop())
    found = collected(results, splits=None)
    problem = the_problem(found)
    assert "fold 1 has other cases in nnUNetTrainerA (2) than in nnUNetTrainerB (1)" in problem
    assert "only nnUNetTrainerA has 1 case (d)" in problem
    assert "--val" in problem
    assert common(found).folds == ("0",)


def test_changed_splits(results):
    new = [SPLITS[0], {"train": ["a", "b"], "val": ["c", "e"]}]
    found = collected(results, splits=new)
    problem = the_problem(found)
    assert "fold 1 of nnUNetTrainerA, nnUNetTrainerB is not that of splits_final.json" in problem
    assert "1 case (d) validated, but not in the file; 1 case (e) in the file, but not validated" in problem
    assert common(found).folds == ("0", "1")  # among each other they can be compared


def test_a_case_in_two_folds_of_a_model(results):
    for trainer in ("nnUNetTrainerA", "nnUNetTrainerB"):
        edit(summary_of(results, trainer), lambda cases: cases[0].update(prediction_file="/p/a.png"))
    found = collected(results, splits=None)
    assert len(found.problems) == 2
    assert "nnUNetTrainerA validates 1 case (a) in fold 1 and in fold 0, too" in str(found.problems[0])
    assert common(found).folds == ("0",)


def test_other_classes(results):
    edit(summary_of(results), lambda cases: [case["metrics"].update({"2": case["metrics"]["1"]}) for case in cases])
    assert "was scored for classes 1, 2, nnUNetTrainerA for 1" in the_problem(collected(results))


def test_without_a_common_fold_there_is_nothing_to_compare(results):
    summary_of(results, "nnUNetTrainerA", 0).unlink()
    summary_of(results, "nnUNetTrainerB", 1).unlink()
    with pytest.raises(CollectError, match=r"usable are nnUNetTrainerA: 1; nnUNetTrainerB: 0\. Choose"):
        common(collected(results))


def test_a_trainer_without_any_usable_fold_is_left_out(results):
    write_fold(results, "nnUNetTrainerC", 0, {"x": GOOD})
    summary_of(results, "nnUNetTrainerC", 0).write_text("{")
    assert common(collected(results)).names == ("nnUNetTrainerA", "nnUNetTrainerB")


def test_repeats_come_from_other_results_folders(results, tmp_path_factory):
    other = tmp_path_factory.mktemp("second")
    write_fold(other, "nnUNetTrainerA", 0, dict.fromkeys(FOLDS[0], GOOD))
    write_fold(other, "nnUNetTrainerOther", 0, dict.fromkeys(FOLDS[0], GOOD))
    models = [find_models(place / DATASET) for place in (results, other)]
    found = collect(models, "901", ["0"], SPLITS)
    assert keys(found) == [("A", "0", 0), ("B", "0", 0), ("A", "0", 1)]


def test_splits_and_tables_that_are_none(tmp_path):
    assert read_splits(tmp_path / "splits_final.json") is None
    (tmp_path / "splits_final.json").write_text('{"a": 1}')
    with pytest.raises(CollectError, match="holds no folds"):
        read_splits(tmp_path / "splits_final.json")
    (tmp_path / "cases.csv").write_text("name,group\na,1\n")
    with pytest.raises(CollectError, match="no column case; its columns are name, group"):
        read_cases(tmp_path / "cases.csv")
    (tmp_path / "cases.csv").write_text("case,group\na,1\na,2\n")
    with pytest.raises(CollectError, match="has case a more than once"):
        read_cases(tmp_path / "cases.csv")


def test_groups_and_structures_come_from_the_table_of_cases(results, tmp_path):
    (tmp_path / "cases.csv").write_text("case,group,structure\na,p1,polyp\nb,p1,\nc,,cell\n")
    table = long_table(collected(results).runs, read_cases(tmp_path / "cases.csv")).set_index(["trainer", "case"])
    rows = table.loc["nnUNetTrainerA"]
    assert rows["group"].to_dict() == {"a": "p1", "b": "p1", "c": "c", "d": "d"}
    assert rows["structure"].to_dict() == {"a": "polyp", "b": "", "c": "cell", "d": ""}
