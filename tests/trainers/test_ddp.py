"""DistributedDataParallel with one gloo process on the CPU: what our hooks unwrap, reduce and save."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def process_group(folder):
    """A group of one."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    "name", ["nnUNetTrainerSLUNet_5L1Res_2epochs_2iters", "nnUNetTrainerExt_Plain_UNet_2epochs_2iters"]
)
def test_trains_and_saves_under_ddp(make_trainer, tmp_path, name):
    trainer = make_trainer(name)  # without a group: with one, nnU-Net would choose a GPU by rank
    trainer.initialize()
    with process_group(tmp_path):
        check(trainer)


def check(trainer):
    """Wrap, train two steps, end the epoch, save."""
    plain = trainer.network
    trainer.network, trainer.is_ddp = DistributedDataParallel(plain), True
    trainer.loss = trainer._build_loss()
    assert trainer.unwrapped_network is plain
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.on_train_epoch_start()
    rng = np.random.default_rng(0)
    outputs = []
    for _ in range(2):
        target = torch.from_numpy(rng.integers(0, 3, (2, 1, 32, 32)))
        scales = [target, target[..., ::2, ::2]] if trainer.enable_deep_supervision else target
        outputs.append(trainer.train_step({"data": torch.randn(2, 3, 32, 32), "target": scales}))
    trainer.on_train_epoch_end(outputs)
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.save_checkpoint(path)
    state = torch.load(path, weights_only=False)["network_weights"]
    assert set(state) == set(plain.state_dict())
    if hasattr(plain, "selection"):
        expected = np.mean([o["loss"] for o in outputs])
        assert plain.selection.mean_loss.mean().item() == pytest.approx(expected, abs=1e-5)
