import torch

from nnunet_ext.inference.slice_view import view_slices
from nnunet_ext.inference.trained_model import bare_network

REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def subject(write_model, **how):
    predictor = write_model(**how).predictor("cpu")
    return predictor, bare_network(predictor)


def test_the_fused_logits_are_the_stock_predictors(write_model):
    predictor, network = subject(write_model, labels={"background": 0, "a": 1, "b": 2})
    data = torch.randn(3, 1, 45, 50)  # several windows
    expected = predictor.predict_sliding_window_return_logits(data)[:, 0].float()
    _, logits = view_slices(predictor, network, 1, data)
    assert torch.equal(logits, expected)
    assert predictor.network is network
    assert predictor.label_manager.num_segmentation_heads == 3


def test_each_slice_s_probability_in_a_single_window(write_model):
    for labels, nonlinearity in (({"background": 0, "a": 1, "b": 2}, "softmax"), (REGIONS, "sigmoid")):

        def regions(weights, sigmoid=nonlinearity == "sigmoid"):
            weights["selection.uses_sigmoid"].fill_(sigmoid)

        predictor, network = subject(write_model, trainer=TRAINERS[nonlinearity], labels=labels, change=regions)
        predictor.use_mirroring = False
        data = torch.randn(3, 1, 32, 32)
        found, _ = view_slices(predictor, network, 1, data)
        with torch.no_grad():
            logits = network.slices(data[:, 0][None])[0]
        expected = logits.softmax(0) if nonlinearity == "softmax" else logits.sigmoid()
        assert found.shape == (16, 32, 32)
        torch.testing.assert_close(found, expected[1], atol=2e-2, rtol=0)  # sums in half precision, coarse in corners
        assert (found - expected[1]).abs().mean() < 1e-3
        assert found.std() > 0.02


TRAINERS = {"softmax": "nnUNetTrainerSLUNet_5L1Res", "sigmoid": "nnUNetTrainerSLUNet_5L2Res"}  # a folder each
