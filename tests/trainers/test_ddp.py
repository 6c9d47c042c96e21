"""DistributedDataParallel with two gloo processes on the CPU: what our hooks unwrap, add up, split and save."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from warm import spawn

BATCHES = (3, 1)  # images a step of rank 0 and 1: an image counts once, wherever it is


@pytest.mark.parametrize(
    "name",
    ["nnUNetTrainerSLUNet_5L1Res_2epochs_2iters", "nnUNetTrainerM2SNet_2epochs_2iters",
     "nnUNetTrainerOVeNet_2epochs_2iters"],
)  # fmt: skip
def test_two_processes_train_split_and_save(make_trainer, vgg_weights, tmp_path, name):
    trainer = make_trainer(name, batch_dice=False)  # nnU-Net gathers batch Dice only over equal batches
    splits = Path(trainer.preprocessed_dataset_folder_base, "splits_final.json")
    assert not splits.exists()
    plans = trainer.plans_manager.plans
    spawn(rank_main, (str(tmp_path), name, plans, trainer.dataset_json), 2)
    results = [json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    assert len(json.loads(splits.read_text())) == 5
    assert results[0]["val"] == results[1]["val"]
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    state = torch.load(path, weights_only=False)["network_weights"]
    assert set(state) == set(trainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 3, 3, True).state_dict())  # fmt: skip
    if "SLUNet" in name:
        weighted = np.average([np.mean(r["losses"]) for r in results], weights=BATCHES)
        for found in results:
            assert found["mean_loss"] == results[0]["mean_loss"]
            assert found["selected"] == results[0]["selected"] == state["selection.selected"].tolist()
            assert np.mean(found["mean_loss"]) == pytest.approx(weighted, abs=1e-5)


def rank_main(rank, folder, name, plans, dataset_json):
    """One process: train two steps on its own images, end the epoch, save."""
    from trainers.conftest import construct

    torch.set_num_threads(1)
    torch.manual_seed(0)
    trainer = construct(
        name, dict(plans), dataset_json
    )  # without a group: with one, nnU-Net would choose a GPU by rank
    trainer.initialize()
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    plain = trainer.network
    trainer.network, trainer.is_ddp, trainer.local_rank = DistributedDataParallel(plain), True, rank
    trainer.loss = trainer._build_loss()
    assert trainer.unwrapped_network is plain
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    _, val = trainer.do_split()
    trainer.on_train_epoch_start()
    rng, outputs = np.random.default_rng(rank), []
    for _ in range(2):
        target = torch.from_numpy(rng.integers(0, 3, (BATCHES[rank], 1, 32, 32)))
        scales = [target, target[..., ::2, ::2]] if trainer.enable_deep_supervision else target
        data = torch.from_numpy(rng.normal(size=(BATCHES[rank], 3, 32, 32)).astype(np.float32))
        outputs.append(trainer.train_step({"data": data, "target": scales}))
    found = {"val": list(map(str, val)), "losses": [float(o["loss"]) for o in outputs]}
    trainer.on_train_epoch_end(outputs)
    if hasattr(plain, "selection"):
        found |= {"mean_loss": plain.selection.mean_loss.tolist(), "selected": plain.selection.selected.tolist()}
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_latest.pth")
    Path(folder, f"rank_{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_have_the_gradients_of_one(tmp_path):
    """A lifted network on two halves of a batch, and on the whole batch in one process."""
    spawn(gradient_main, (str(tmp_path), 2), 2)
    spawn(gradient_main, (str(tmp_path), 1), 1)
    one, *two = [torch.load(tmp_path / f"{n}_{rank}.pt") for n, rank in ((1, 0), (2, 0), (2, 1))]
    assert one
    for found in two:
        assert set(found) == set(one)
        for name, gradient in one.items():
            assert torch.allclose(found[name], gradient, atol=1e-10), name


def gradient_main(rank, folder, n_processes):
    """Write the gradients of one process's share of four images."""
    from nnunet_ext.architectures.published.slunet import SLUNetSpec
    from nnunet_ext.losses.slicewise import SlicewiseLoss

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/of{n_processes}", rank=rank, world_size=n_processes)
    torch.manual_seed(0)
    network = SLUNetSpec(5, 1, depth=4, n_selected=2).build(None, 2, 3, False).double().train()
    x, target = torch.randn(4, 2, 32, 32, dtype=torch.float64), torch.randint(0, 3, (4, 32, 32))
    share = slice(rank * 4 // n_processes, (rank + 1) * 4 // n_processes)
    loss = SlicewiseLoss(torch.nn.CrossEntropyLoss())
    distributed = DistributedDataParallel(network)  # kept: it adds the gradients up while they are computed
    loss(distributed(x[share]).logits, target[share]).backward()
    torch.save({name: p.grad for name, p in network.named_parameters()}, f"{folder}/{n_processes}_{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_offset_losss_gradients_of_one(make_trainer, tmp_path):
    """All of its terms are means over images of equal size (batch Dice off, nothing ignored), so halves add up.

    With ignored pixels they are means over each process's own valid pixels, as nnU-Net's cross-entropy is.
    """
    trainer = make_trainer("nnUNetTrainerOVeNet", batch_dice=False)
    plan = trainer.plans_manager.plans, trainer.dataset_json
    spawn(offset_main, (str(tmp_path), 2, *plan), 2)
    spawn(offset_main, (str(tmp_path), 1, *plan), 1)
    one, *two = [torch.load(tmp_path / f"{n}_{rank}.pt") for n, rank in ((1, 0), (2, 0), (2, 1))]
    assert one["loss"] == pytest.approx((two[0]["loss"] + two[1]["loss"]) / 2, rel=1e-6)
    assert two[0]["loss"] != pytest.approx(two[1]["loss"], rel=1e-3), "each has images of its own"
    largest = max(g.abs().max() for g in one["gradients"].values())
    assert all(any(g.any() for k, g in one["gradients"].items() if part in k) for part in ("offset_branch", "encoder"))
    for found in two:
        assert found["gradients"].keys() == one["gradients"].keys()
        for name, gradient in one["gradients"].items():
            assert torch.allclose(found["gradients"][name], gradient, rtol=1e-4, atol=1e-6 * largest), name


def offset_main(rank, folder, n_processes, plans, dataset_json):
    """Write loss and gradients of one process's share of four images."""
    from trainers.conftest import construct

    torch.set_num_threads(1)
    torch.manual_seed(0)
    trainer = construct("nnUNetTrainerOVeNet", dict(plans), dataset_json)
    trainer.initialize()
    dist.init_process_group("gloo", init_method=f"file://{folder}/of{n_processes}", rank=rank, world_size=n_processes)
    network = trainer.network.double().train()
    network.refinement.float()  # it computes in single precision whatever it is given
    trainer.network, trainer.is_ddp, trainer.local_rank = DistributedDataParallel(network), True, rank
    loss = trainer._build_loss()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # offsets of some pixels, not of almost none
        last = network.offset_branch.seg_layers[-1]
        last.weight.normal_(0, 2, generator=generator)
    share = slice(rank * 4 // n_processes, (rank + 1) * 4 // n_processes)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=generator)[share]
    target = torch.randint(0, 3, (4, 1, 32, 32), generator=generator)[share]
    output = trainer.network(x)
    assert output.extra["offsets"].abs().mean() > 0.5
    value = loss(output, [target, target[..., ::2, ::2]])
    value.backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    torch.save({"loss": value.item(), "gradients": gradients}, f"{folder}/{n_processes}_{rank}.pt")
    dist.destroy_process_group()
