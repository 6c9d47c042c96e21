"""What only a GPU shows: half precision with a gradient scaler, compiled networks, prediction after training."""

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "name",
    ["nnUNetTrainerSLUNet_5L1Res_2epochs_3iters_paper", "nnUNetTrainerExt_Plain_UNet_2epochs_3iters",
     "nnUNetTrainerOVeNet_2epochs_3iters", "nnUNetTrainerOVeNet_2epochs_3iters_paper"],
)  # fmt: skip
def test_trains_and_predicts_in_half_precision(make_trainer, monkeypatch, name, compiled):
    monkeypatch.setenv("nnUNet_compile", "t" if compiled else "f")
    trainer = make_trainer(name, device="cuda")
    trainer.run_training()
    assert trainer.grad_scaler is not None
    losses = trainer.logger.get_value("train_losses", step=None)
    assert torch.isfinite(torch.tensor(losses)).all()
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    with torch.no_grad(), torch.autocast("cuda"):
        logits = trainer.network(torch.randn(1, 3, 32, 32, device="cuda"))
    assert logits.shape == (1, 3, 32, 32)
    assert torch.isfinite(logits.half()).all()
