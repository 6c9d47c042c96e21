"""What `cascade train` would do, seen from folders as nnU-Net leaves them; nothing is trained."""

import argparse
import json
import os

import pytest
from nnunetv2.evaluation.find_best_configuration import dumb_trainer_config_plans_to_trained_models_dict

from nnunet_ext.cascade.settings import SelectiveRefinement, TwoStageError
from nnunet_ext.run import cascade
from nnunet_ext.run.cascade import log_file, next_commands, table_of, train_both, typed
from nnunet_ext.run.cascade_stages import Request, check_trainers, find_stages
from nnunet_ext.run.cascade_steps import steps_of, training_state
from nnunet_ext.run.commands import CommandError

DATASET, PLANS, TRAINER = "Dataset900_Tiny", "nnUNetTwoStagePlans", "nnUNetTrainerTwoStage"
CASES = [f"case_{i}" for i in range(6)]
SPLITS = [{"train": [c for c in CASES if c not in CASES[2 * i : 2 * i + 2]], "val": CASES[2 * i : 2 * i + 2]}
          for i in range(3)]  # fmt: skip


@pytest.fixture
def place(nnunet_folders):
    """nnU-Net's folders with plans and folds; nothing is preprocessed."""
    selective = SelectiveRefinement("2d_lowres", coarse_trainer="nnUNetTrainer").as_plan()
    plans = {
        "plans_name": PLANS,
        "dataset_name": DATASET,
        "configurations": {
            "2d": {"data_identifier": "full", "architecture": {}},
            "2d_lowres": {"data_identifier": "low", "architecture": {}, "next_stage": "2d_cascade_fullres"},
            "2d_fine": {"inherits_from": "2d"},
            "2d_selective": {"inherits_from": "2d_fine", "selective_refinement": selective},
            "2d_cascade_fullres": {"inherits_from": "2d", "previous_stage": "2d_lowres"},
        },
    }
    folder = nnunet_folders / "nnUNet_preprocessed" / DATASET
    folder.mkdir()
    (folder / f"{PLANS}.json").write_text(json.dumps(plans))
    (folder / "splits_final.json").write_text(json.dumps(SPLITS))
    return nnunet_folders


def preprocess(place, name, cases=CASES):
    folder = place / "nnUNet_preprocessed" / DATASET / name
    folder.mkdir(exist_ok=True)
    for case in cases:
        (folder / f"{case}.b2nd").touch()
        (folder / f"{case}.pkl").touch()


def trained(place, trainer, configuration, fold, *names):
    folder = place / "nnUNet_results" / DATASET / f"{trainer}__{PLANS}__{configuration}" / f"fold_{fold}"
    for age, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"metric_per_case": [1, 2]}))
        os.utime(file, (1000 + age, 1000 + age))
    return folder


def commands(request):
    return [" ".join(step.command) for step in steps_of(find_stages(request)) if not step.is_done]


def train(configuration, fold, trainer, *flags):
    return " ".join(["nnUNetv2_train", DATASET, configuration, str(fold), "-p", PLANS, "-tr", trainer, *flags])


def test_all_from_nothing_in_the_order_in_which_stages_need_each_other(place):
    found = commands(Request(DATASET, device="cpu"))
    assert [c.split(" -np ")[0] for c in found[:2]] == [
        f"nnUNetv2_preprocess -d 900 -plans_name {PLANS} -c 2d_lowres",
        f"nnUNetv2_preprocess -d 900 -plans_name {PLANS} -c 2d",  # from which 2d_selective inherits its data
    ]
    assert found[2:] == [
        train(configuration, fold, trainer, "-device", "cpu")
        for fold in range(3)
        for configuration, trainer in (("2d_lowres", "nnUNetTrainer"), ("2d_selective", TRAINER))
    ]


def test_only_what_is_missing(place):
    preprocess(place, "low")
    preprocess(place, "full", CASES[:4])
    final, summary = "checkpoint_final.pth", "validation/summary.json"
    trained(place, "nnUNetTrainer", "2d_lowres", 0, final, summary)
    trained(place, TRAINER, "2d_selective", 0, "checkpoint_best.pth", final)
    trained(place, "nnUNetTrainer", "2d_lowres", 1, "checkpoint_best.pth")
    trained(place, "nnUNetTrainer", "2d_lowres", 2, final, summary, "validation/case_4.npz", "validation/case_5.npz")
    trained(place, TRAINER, "2d_selective", 2, final, summary, "validation/case_4.npz")
    stages = find_stages(Request(DATASET))
    steps = steps_of(stages)
    assert [(s.name, s.state, s.command[8:] if s.command[:1] == ("nnUNetv2_train",) else None) for s in steps] == [
        ("preprocess 2d_lowres", "done", None),
        ("preprocess 2d", "2 of 6 cases missing", None),
        ("2d_lowres fold 0", "done", None),
        ("2d_selective fold 0", "trained; validation missing", ("--val",)),
        ("2d_lowres fold 1", "began; goes on from its checkpoint", ("--c",)),
        ("2d_selective fold 1", "to train", ()),
        ("2d_lowres fold 2", "done", None),
        ("2d_selective fold 2", "done", None),
    ]
    assert train("2d_selective", 0, TRAINER, "--val") in table_of(steps)[3]
    with_npz = commands(Request(DATASET, folds=("0", "2"), npz=True))[1:]
    assert with_npz == [
        train("2d_lowres", 0, "nnUNetTrainer", "--npz", "--val"),
        train("2d_selective", 0, TRAINER, "--npz", "--val"),
        train("2d_selective", 2, TRAINER, "--npz", "--val"),  # one of two cases
    ]


def test_a_validation_of_an_earlier_training_is_none(tmp_path):
    for age, name in enumerate(("validation/summary.json", "checkpoint_final.pth")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"metric_per_case": []}')
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert training_state(tmp_path, False) == ("trained; validation missing", ("--val",))


def test_half_a_summary_is_none(tmp_path):
    for name, text in (("checkpoint_final.pth", ""), ("validation/summary.json", '{"metric_per')):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert training_state(tmp_path, False) == ("trained; validation missing", ("--val",))


def test_nnunets_own_cascade_needs_all_coarse_folds_first(place):
    for name in ("low", "full"):
        preprocess(place, name)
    final, summary = "checkpoint_final.pth", "validation/summary.json"
    for fold in (0, 1):
        folder = trained(place, TRAINER, "2d_lowres", fold, final, summary)
    handed = folder.parent / "predicted_next_stage" / "2d_cascade_fullres"
    handed.mkdir(parents=True)
    for case in (*CASES[:2], CASES[2]):  # of fold 1, case_3 is missing
        (handed / f"{case}.b2nd").touch()
    request = Request(DATASET, "2d_cascade_fullres", folds=("1",))
    assert commands(request) == [
        train("2d_lowres", 1, TRAINER, "--val"),
        train("2d_lowres", 2, TRAINER),
        train("2d_cascade_fullres", 1, TRAINER),
    ]
    assert any("-prev_stage_predictions COARSE" in line for line in next_commands(find_stages(request)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "Dataset901_None"}, "there are: Dataset900_Tiny"),
        ({"plans": "nnUNetPlans"}, "plans there: nnUNetTwoStagePlans. Type: nnunet_ext plan --two-stage"),
        ({"configuration": "3d_selective"}, "it has: 2d, 2d_lowres"),
        ({"configuration": "2d"}, "has one stage only"),
        ({"folds": ("0", "3")}, r"-f 3: .*splits_final.json has 3 folds. Type: -f 0 1 2"),
        ({"folds": ("0", "0")}, "give each fold once"),
        ({"coarse_trainer": TRAINER}, f"says nnUNetTrainer, .* plan --two-stage .*--coarse-trainer {TRAINER}"),
    ],
)
def test_refused_before_work(place, changes, message):
    with pytest.raises(TwoStageError, match=message):
        find_stages(Request(**{"dataset": DATASET} | changes))


def test_a_folder_that_is_not_set_and_a_trainer_that_is_none(place, monkeypatch):
    stages = find_stages(Request(DATASET, "2d_cascade_fullres", trainer="nnUNetTrainerTwoStag"))
    monkeypatch.setenv("nnUNet_extTrainer", str(place))
    with pytest.raises(TwoStageError, match=r"-tr nnUNetTrainerTwoStag: .* Did you mean nnUNetTrainerTwoStage"):
        check_trainers(stages)
    monkeypatch.delenv("nnUNet_results")
    with pytest.raises(TwoStageError, match=r"nnUNet_results is not set\. Type: export"):
        find_stages(Request(DATASET))


@pytest.fixture
def ran(monkeypatch):
    """Stands for running commands and looking for them; returns what was run."""
    calls = []
    monkeypatch.setattr(cascade, "run_command", lambda command, **options: calls.append((command, options)) or 61.0)
    monkeypatch.setattr(cascade, "find_command", lambda name: name)
    monkeypatch.setattr(cascade, "check_trainers", lambda stages: None)
    return calls


def test_steps_are_run_and_what_comes_next_is_said(place, ran, monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    said, request = [], Request(DATASET, folds=("2",), device="cpu")
    train_both(request, True, said.append)
    assert (len(said), ran) == (4, [])
    assert "-device cpu" in said[-1]
    said.clear()
    train_both(request, False, said.append)
    assert [c[0] for c, _ in ran] == ["nnUNetv2_preprocess"] * 2 + ["nnUNetv2_train"] * 2
    assert all(o["environment"]["nnUNet_extTrainer"].endswith("_nnunet_plugin") for _, o in ran)
    log = log_file(find_stages(request), steps_of(find_stages(request))[-1])
    assert ran[-1][1]["log"] == log
    assert log.name == f"{PLANS}_2d_selective_fold_2.txt"
    assert any(line.endswith(f"2d_selective fold 2; output in {log}") for line in said)
    assert any("took 1:01" in line for line in said)
    tail = "\n".join(said[-4:])
    assert f"nnunet_ext predict --two-stage -i IMAGES -o OUT -d {DATASET} -c 2d_selective -p {PLANS}" in tail
    best = f"  nnUNetv2_find_best_configuration {DATASET} -c"
    assert said[-2:] == [
        f"{best} 2d_lowres -p {PLANS} -tr nnUNetTrainer -f 2 --disable_ensembling",
        f"{best} 2d_selective -p {PLANS} -tr {TRAINER} -f 2 --disable_ensembling",
    ]


@pytest.mark.parametrize("trainer", [TRAINER, "nnUNetTrainer"])
def test_nnunet_compares_no_models_but_the_trained_ones(place, trainer):
    stages = find_stages(Request(DATASET, trainer=trainer))
    asked = []
    for line in next_commands(stages):
        if "find_best_configuration" in line:
            flags = argparse.ArgumentParser()
            for flag in ("-c", "-p", "-tr", "-f"):
                flags.add_argument(flag, nargs="+")
            found = flags.parse_known_args(line.split()[2:])[0]
            asked += dumb_trainer_config_plans_to_trained_models_dict(found.tr, found.c, found.p)
    assert sorted((m["trainer"], m["plans"], m["configuration"]) for m in asked) == sorted(
        [("nnUNetTrainer", PLANS, "2d_lowres"), (trainer, PLANS, "2d_selective")]
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), CommandError("no memory")])
def test_an_end_says_how_to_go_on(place, ran, monkeypatch, error):
    def end(*_, **__):
        raise error

    monkeypatch.setattr(cascade, "run_command", end)
    said, request = [], Request(DATASET, folds=("1", "2"), npz=True, device="cpu")
    with pytest.raises(type(error)):
        train_both(request, False, said.append)
    again = f"nnunet_ext cascade train -d {DATASET} -c 2d_selective -p {PLANS} -tr {TRAINER} -f 1 2 --npz -device cpu"
    assert said[-1].endswith(again)
    assert " ".join(typed(request)) == again
