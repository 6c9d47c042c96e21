import json

import onnxruntime
import pytest
import torch
from support import make_plans

from nnunet_ext.inference.export import export_onnx
from nnunet_ext.inference.onnx_file import OnnxError
from nnunet_ext.inference.trained_model import bare_network

LIFTED, STOCK = "nnUNetTrainerSLUNet_5L1Res", "nnUNetTrainer"
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def logits(path, x):
    return torch.from_numpy(onnxruntime.InferenceSession(str(path)).run(["logits"], {"image": x.numpy()})[0])


# a lifted network takes long to trace; by default, tests/integration/test_look_inside.py exports one
@pytest.mark.parametrize("trainer", [STOCK, pytest.param(LIFTED, marks=pytest.mark.slow)])
def test_each_fold_is_a_file_with_its_weights(write_model, tmp_path, trainer):
    model = write_model(trainer, folds=("0", "1"))
    said = []
    written = export_onnx(model, tmp_path / "model.onnx", say=said.append)
    assert [file.path.name for file in written] == ["model_fold0.onnx", "model_fold1.onnx"]
    assert sorted(p.name for p in tmp_path.glob("model*")) == [
        "model_fold0.json", "model_fold0.onnx", "model_fold1.json", "model_fold1.onnx",
    ]  # fmt: skip
    predictor = model.predictor("cpu")
    x = torch.randn(1, 3, 32, 32)
    for file, weights in zip(written, predictor.list_of_parameters, strict=True):
        network = bare_network(predictor)
        network.load_state_dict(weights)
        with torch.no_grad():
            torch.testing.assert_close(logits(file.path, x), network(x), atol=1e-3, rtol=0)
        assert f"differs from PyTorch by at most {file.found.difference:.3g}" in "\n".join(said)


def test_a_3d_plan_of_stock_nnunet(write_model, tmp_path):
    model = write_model(STOCK, patch=(8, 16, 16))
    (file,) = export_onnx(model, tmp_path / "solid.onnx")
    x = torch.randn(3, 3, 8, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(logits(file.path, x), bare_network(model.predictor("cpu"))(x), atol=1e-3, rtol=0)
    found = json.loads((tmp_path / "solid.json").read_text())
    assert found["input"]["shape"] == ["batch", 3, 8, 16, 16]
    assert found["preprocessing"]["spacing"] == [1.0, 1.0, 1.0]


def test_the_json_file_says_how_to_use_the_model(write_model, tmp_path):
    model = write_model(STOCK, labels=REGIONS, patch=(16, 24))
    (file,) = export_onnx(model, tmp_path / "model.onnx")
    found = json.loads((tmp_path / "model.json").read_text())
    assert found["file"] == "model.onnx"
    assert found["input"]["channels"] == ["R", "G", "B"]
    assert found["output"] == {
        "name": "logits", "shape": ["batch", 2, 16, 24], "values": "sigmoid logits",
        "names": ["whole", "core"], "labels": [[1, 2], [2]], "regions_class_order": [1, 2],
    }  # fmt: skip
    assert found["preprocessing"]["normalization_schemes"] == ["ZScoreNormalization"] * 3
    assert found["mirroring_axes"] == [0, 1]
    assert found["model"] == {
        "dataset": "Dataset900_Tiny", "trainer": STOCK, "plans": "nnUNetPlans", "configuration": "2d",
        "fold": "0", "checkpoint": "checkpoint_final.pth",
    }  # fmt: skip
    assert found["check"] == {
        "max_abs_difference": file.found.difference, "share_of_allowed": file.found.excess,
        "other_labels": file.found.other_labels, "allowed": {"absolute": 1e-3, "relative": 1e-4}, "batches": [1, 2],
    }  # fmt: skip
    assert file.found.excess <= 1
    plan = make_plans([16, 24])["configurations"]["2d"]
    for key in ("resampling_fn_data", "resampling_fn_data_kwargs"):
        assert found["preprocessing"][key] == plan[key]
    for key in ("resampling_fn_probabilities", "resampling_fn_probabilities_kwargs"):
        assert found["postprocessing"][key] == plan[key]
    assert found["sliding_window"]["step_size"] == 0.5
    assert found["sliding_window"]["gaussian"]["sigma"] == 1 / 8
    assert found["opset"] == file.opset
    assert {"torch", "onnx", "onnxruntime", "nnunetv2"} <= found["versions"].keys()


def test_another_ending_is_refused_before_work(write_model, tmp_path):
    with pytest.raises(OnnxError, match=r"-o .*model\.pt: the name has to end in \.onnx, e\.g\. .*model\.onnx"):
        export_onnx(write_model(STOCK), tmp_path / "model.pt")
