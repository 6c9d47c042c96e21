import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nnunet_ext.run import demo
from nnunet_ext.run.demo_data import DemoData, DemoDataError, check_data, find_data, find_mask_suffix, split_data
from nnunet_ext.run.demo_folder import MARKER, DemoFolderError, claim_folder
from nnunet_ext.run.demo_page import (
    TrainerResult,
    draw_charts,
    draw_overlays,
    per_case_table,
    ranked_cases,
    results_table,
)
from nnunet_ext.run.demo_text import convert_command, demo_command, next_steps
from nnunet_ext.run.workplace import NNUNET_FOLDERS, Workplace, chosen_device, training_settings


def fill(folder, names, suffix=""):
    for kind, ending in (("images", ""), ("masks", suffix)):
        (folder / kind).mkdir(parents=True)
        for name in names:
            Image.new("L", (4, 4)).save(folder / kind / f"{name}{ending}.png")


# --- data


@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_train_and_test_folders_are_taken_as_they_are(tmp_path, suffix):
    fill(tmp_path / "train", [f"a{i}" for i in range(5)], suffix)
    fill(tmp_path / "test", ["b"], suffix)
    data = find_data(tmp_path, tmp_path / "work")
    assert data.mask_suffix == suffix
    assert data.test_masks == tmp_path / "test" / "masks"
    assert not (tmp_path / "work").exists()


def test_the_last_fifth_is_held_out_as_links(tmp_path):
    user = tmp_path / "user"
    fill(user, [f"p{i:02d}" for i in range(10)], "_mask")
    before = sorted(path for path in user.rglob("*"))
    data = find_data(user, tmp_path / "work")
    assert sorted(path.name for path in data.test_images.iterdir()) == ["p08.png", "p09.png"]
    assert sorted(path.name for path in data.test_masks.iterdir()) == ["p08_mask.png", "p09_mask.png"]
    assert len(list(data.images.iterdir())) == len(list(data.masks.iterdir())) == 8
    assert all(path.is_symlink() for path in data.images.iterdir())
    assert "2 of 10" in data.note
    check_data(user)
    shutil.rmtree(tmp_path / "work")
    assert sorted(path for path in user.rglob("*")) == before


def test_other_layouts_are_refused_with_the_right_ones(tmp_path):
    with pytest.raises(DemoDataError, match="no such folder"):
        find_data(tmp_path / "gone", tmp_path)
    (tmp_path / "imgs").mkdir()
    with pytest.raises(DemoDataError, match=r"found imgs(?s:.*)DIR/train/images"):
        find_data(tmp_path, tmp_path)


def test_too_few_images_are_refused(tmp_path):
    fill(tmp_path / "few", ["a", "b", "c"])
    with pytest.raises(DemoDataError, match="2 training and 1 test images; the demo needs at least 5"):
        find_data(tmp_path / "few", tmp_path / "work")
    fill(tmp_path / "none", [])
    with pytest.raises(DemoDataError, match="0 training"):
        find_data(tmp_path / "none", tmp_path / "work")


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(DemoDataError, match=r"1 image\(s\) have no mask in .*masks; missing are b_mask "):
        find_mask_suffix(["a", "b"], ["a_mask", "c_mask"], tmp_path / "masks")
    fill(tmp_path / "train", [f"a{i}" for i in range(5)])
    fill(tmp_path / "test", ["b"], "_mask")
    with pytest.raises(DemoDataError, match="missing are b "):
        split_data(tmp_path / "train", tmp_path / "test", "")


# --- folder


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    (tmp_path / "data").mkdir()
    with pytest.raises(DemoFolderError, match=r"not empty and no demo made it.*--output demo_output"):
        claim_folder(tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "thesis.txt"]
    with pytest.raises(DemoFolderError, match="is a file"):
        claim_folder(tmp_path / "thesis.txt", {})


def test_an_earlier_demo_is_replaced_and_nothing_else(tmp_path):
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.png").touch()
    assert claim_folder(output, {"seed": 0}) is False
    (output / "nnunet" / "results").mkdir(parents=True)
    (output / "report.html").touch()
    (output / "notes.txt").write_text("mine")
    (output / "predictions").symlink_to(elsewhere)
    assert claim_folder(output, {"seed": 1}) is True
    assert sorted(path.name for path in output.iterdir()) == sorted([MARKER, "notes.txt"])
    assert (elsewhere / "x.png").exists()
    assert json.loads((output / MARKER).read_text())["settings"] == {"seed": 1}


def test_an_empty_folder_is_taken(tmp_path):
    assert claim_folder(tmp_path, {}) is False


def test_data_inside_the_output_is_refused(tmp_path):
    claim_folder(tmp_path, {})
    (tmp_path / "data" / "train").mkdir(parents=True)
    with pytest.raises(DemoFolderError, match="lies inside --output"):
        claim_folder(tmp_path, {}, data=tmp_path / "data")
    assert (tmp_path / "data" / "train").is_dir()


# --- page


def per_case(dices):
    rows = [
        {"case": f"c{i}", "label": "1", "Dice": d, "IoU": d / (2 - d), "TP": 1, "FP": 0, "FN": 0, "TN": 1}
        for i, d in enumerate(dices)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def results(tmp_path):
    """Two trainers and seven test cases, the last without any foreground."""
    dataset = tmp_path / "raw" / "Dataset999_Demo"
    scores = {"nnUNetTrainerA": [0.9, 0.1, 0.5, 0.7, 0.6, 0.8, np.nan], "nnUNetTrainerB": [0.5] * 6 + [np.nan]}
    made = []
    for folder in (dataset / "imagesTs", dataset / "labelsTs", *(tmp_path / name for name in scores)):
        folder.mkdir(parents=True)
        for i in range(7):
            ending = "_0000" if folder.name == "imagesTs" else ""
            mode = "RGB" if folder.name == "imagesTs" else "L"
            Image.new(mode, (20, 10)).save(folder / f"c{i}{ending}.png")
    for name, dices in scores.items():
        made.append(TrainerResult(name, tmp_path / name, per_case(dices), 60.0, 0.5, [0.1, 0.4], 29537, 2.5e9))
    return made


def test_the_table_has_units_and_counts_undefined_cases(results):
    table = results_table(results)
    assert list(table["trainer"]) == ["nnUNetTrainerA", "nnUNetTrainerB"]
    row = table.iloc[0]
    assert row["Dice, mean"] == pytest.approx(0.6)
    assert row["Dice, sd"] == pytest.approx(np.std([0.9, 0.1, 0.5, 0.7, 0.6, 0.8], ddof=1))
    assert (row["test cases"], row["undefined Dice"]) == (7, 1)
    assert (row["parameters"], row["MACs (G)"]) == (29537, 2.5)
    assert (row["training (s)"], row["prediction (s/image)"]) == (60, 0.5)


def test_every_case_of_every_trainer_stands_in_the_long_table(results):
    table = per_case_table(results)
    assert len(table) == 14
    assert list(table.columns[:3]) == ["method", "case", "label"]


def test_cases_are_spread_from_worst_to_best(results):
    ranked = ranked_cases(results, count=3)
    assert ranked == [(c, f"{r} of 6 by mean Dice") for c, r in (("c1", "worst"), ("c4", "median"), ("c0", "best"))]
    assert len(ranked_cases(results, count=100)) == 6
    assert ranked_cases(results[:1], count=1)[0][0] == "c1"


def test_without_any_defined_case_the_first_are_shown(results):
    undefined = [
        TrainerResult("a", results[0].predictions, per_case([np.nan, np.nan]), 1.0, 1.0, [], 1, 1.0),
    ]
    assert ranked_cases(undefined) == [("c0", "Dice undefined"), ("c1", "Dice undefined")]


def test_pictures_and_charts_are_drawn(results, tmp_path):
    dataset = tmp_path / "raw" / "Dataset999_Demo"
    pictures = draw_overlays(results, dataset, tmp_path / "overlays")
    charts = draw_charts(results, tmp_path / "overlays")
    assert len(pictures) == 6
    assert pictures[0][0].startswith("c1: worst of 6")
    assert all(path.is_file() for _, path in [*pictures, *charts])


# --- run


def test_the_page_says_what_was_typed(tmp_path):
    place = Workplace(tmp_path, "cpu")
    images = tmp_path / "data" / "train"
    data = DemoData(images / "images", images / "masks", Path("/x/t i"), Path("/x/m"), "_mask", "")
    assert convert_command(data, tmp_path) == (
        "nnunet_ext convert -i data/train/images -m data/train/masks -d 999 -n Demo --mask-suffix=_mask "
        "--test-images '/x/t i' --test-masks /x/m --overwrite"
    )
    made_by = demo_command(place, Path("my images"), demo.DEFAULT_TRAINERS, 3)
    assert made_by == f"nnunet_ext demo --output {tmp_path} --device cpu --data 'my images'"
    assert demo_command(place, None, demo.DEFAULT_TRAINERS, 3).endswith(" --seed 3")
    assert "trainers=['nnUNetTrainer_1epoch']" in demo_command(place, None, ["nnUNetTrainer_1epoch"], 0)
    assert "-tr nnUNetTrainerSLUNet_5L1Res\n" in next_steps(demo.DEFAULT_TRAINERS)


def test_commands_can_be_typed_again(tmp_path, monkeypatch):
    place = Workplace(tmp_path / "my out", "cpu")
    calls = []
    monkeypatch.setattr("nnunet_ext.run.workplace.run_command", lambda *a, **k: calls.append((a, k)) or 1.0)
    place.run("train", ["nnUNetv2_train", "999"], variables=training_settings("cpu"))
    environment = calls[0][1]["environment"]
    assert environment["nnUNet_raw"] == str(tmp_path / "my out" / NNUNET_FOLDERS["nnUNet_raw"])
    assert environment["nnUNet_n_proc_DA"] == "0"
    assert environment["MPLBACKEND"] == "Agg"
    lines = place.reproduction().splitlines()
    assert lines[0] == f"cd '{tmp_path}/my out'"
    assert 'export nnUNet_extTrainer="$(nnunet_ext path)"' in lines
    assert lines[-1] == "nnUNet_n_proc_DA=0 nnUNetv2_train 999"


def test_only_training_on_the_cpu_goes_without_loader_processes():
    assert int(Workplace(Path("x"), "cpu").environment()["nnUNet_n_proc_DA"]) > 0  # 0 breaks nnU-Net's planning
    assert training_settings("cuda") == {}


def test_unknown_devices_are_refused():
    assert chosen_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="--device tpu: allowed are cpu, cuda, mps"):
        chosen_device("tpu")


def test_unknown_trainers_and_data_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="nnUNetTrainerNoSuch"):
        demo.run_demo(tmp_path / "out", trainers=["nnUNetTrainerNoSuch"], device="cpu", say=lambda _: None)
    with pytest.raises(ValueError, match="no trainers"):
        demo.run_demo(tmp_path / "out", trainers=[], device="cpu", say=lambda _: None)
    with pytest.raises(DemoDataError, match="no such folder"):
        demo.run_demo(tmp_path / "out", data=tmp_path / "gone", device="cpu", say=lambda _: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_whole_demo_on_own_images(tmp_path):
    from nnunet_ext.dataset_conversion.synthetic import write_synthetic_dataset

    write_synthetic_dataset(tmp_path / "made", n_train=8, n_test=0, seed=1)
    said = []
    page = demo.run_demo(
        tmp_path / "out",
        data=tmp_path / "made" / "train",
        trainers=["nnUNetTrainerSLUNet_5L1Res_1epochs_2iters"],
        device="cpu",
        say=said.append,
    )
    text = page.read_text(encoding="utf-8")
    assert text.count("<img ") == 2 + 2
    assert "nnUNetTrainerSLUNet_5L1Res_1epochs_2iters" in text
    assert any("epoch  1/1" in line for line in said)
    assert len(list((tmp_path / "out" / "predictions").glob("*/*.png"))) == 2
