import pytest
import torch

from nnunet_ext.inference.trained_model import (
    TrainedModelError,
    bare_network,
    channel_names,
    find_trained_model,
    output_names,
)

DATASET, TRAINER = "Dataset900_Tiny", "nnUNetTrainerSLUNet_5L1Res"


def test_a_model_is_found_and_its_first_fold_loaded(write_model):
    model = write_model(folds=("0", "all"))
    assert (model.dataset, model.trainer, model.folds) == (DATASET, TRAINER, ("0", "all"))
    predictor = model.predictor("cpu")
    saved = torch.load(model.folder / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
    network = bare_network(predictor)
    assert not network.training
    assert all(torch.equal(value, saved[name]) for name, value in network.named_parameters())
    assert len(predictor.list_of_parameters) == 2


def test_nnunets_prints_are_kept_back(write_model, capsys):
    write_model().predictor("cpu")
    assert capsys.readouterr().out == ""


def test_an_id_is_enough(write_model):
    model = write_model()
    assert find_trained_model("900", "2d", TRAINER, ["0"]) == model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "901"}, rf"-d 901: no such dataset\. In .* there are: {DATASET}\."),
        ({"dataset": "Tiny"}, rf"-d Tiny: no such dataset\. In .* there are: {DATASET}\."),
        ({"trainer": "nnUNetTrainer"}, rf"\n  -tr {TRAINER} -p nnUNetPlans -c 2d$"),
        ({"configuration": "3d_fullres"}, rf"\n  -tr {TRAINER} -p nnUNetPlans -c 2d$"),
        ({"folds": ["0", "3"]}, r"-f 3: .* has no such fold\. Its folds are: 0, 1\."),
        ({"checkpoint": "checkpoint_best.pth"}, r"-chk checkpoint_best\.pth: .*, which has: checkpoint_final\.pth\."),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(write_model, change, message):
    write_model(folds=("0", "1"))
    asked = {"dataset": "900", "configuration": "2d", "trainer": TRAINER, "folds": ["0"]} | change
    with pytest.raises(TrainedModelError, match=message):
        find_trained_model(**asked)


def test_without_a_results_folder_the_line_to_type_is_said(monkeypatch):
    monkeypatch.delenv("nnUNet_results", raising=False)
    with pytest.raises(TrainedModelError, match="export nnUNet_results="):
        find_trained_model("900", "2d", TRAINER, ["0"])


def test_without_discovery_the_line_to_type_is_said(write_model, monkeypatch, tmp_path):
    model = write_model()
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    with pytest.raises(TrainedModelError, match=r'export nnUNet_extTrainer="\$\(nnunet_ext path\)"'):
        model.predictor("cpu")


def test_a_damaged_checkpoint_is_named(write_model):
    model = write_model()
    file = model.folder / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainedModelError, match=rf"{file} cannot be loaded.*-chk"):
        model.predictor("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_device_that_is_not_there_is_refused(write_model):
    with pytest.raises(TrainedModelError, match=r"-device cuda: not on this machine\. Here are: cpu"):
        write_model().predictor("cuda")


@pytest.mark.parametrize(
    ("labels", "regions", "expected"),
    [
        ({"b": 2, "background": 0, "a": [1], "ignore": 3}, False, ["background", "a", "b"]),
        ({"background": 0, "whole": [2, 1], "core": [2], "rest": 3, "ignore": 4}, True, ["whole", "core", "rest"]),
    ],
)
def test_outputs_are_named_in_the_networks_order(labels, regions, expected):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    assert output_names(labels, regions) == expected
    theirs = LabelManager({**labels, "a": 1} if "a" in labels else labels, [1, 2, 3] if regions else None)
    assert theirs.has_regions == regions
    assert theirs.num_segmentation_heads == len(expected)


def test_channels_of_old_datasets_are_called_modality():
    assert channel_names({"modality": {"0": "T1", "1": "T2"}}) == ["T1", "T2"]
    assert channel_names({"channel_names": {"0": "R"}}) == ["R"]
