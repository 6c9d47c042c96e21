"""Validation of a lifted trainer by two gloo processes on the CPU, one with a case more than the other."""

import csv
import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from warm import spawn

from nnunet_ext.inference.predictor import listening
from nnunet_ext.inference.report import QualityReport

NAME = "nnUNetTrainerSLUNet_5L1Res_1epochs_1iters"


@pytest.mark.slow
def test_two_processes_give_each_case_the_score_that_one_gives(make_trainer, tmp_path):
    trainer = make_trainer(NAME, n_cases=15)
    cases = sorted(trainer.do_split()[1])
    assert len(cases) == 3  # two and one
    folder = Path(trainer.output_folder, "validation")
    folder.mkdir(parents=True)
    (folder / "quality_rank7.csv").write_text("of an interrupted validation")
    spawn(rank_main, (str(tmp_path), trainer.plans_manager.plans, trainer.dataset_json), 2)
    distributed = rows(folder / "quality.csv")
    assert list(folder.glob("quality_rank*")) == []
    assert len(json.loads((folder / "summary.json").read_text())["metric_per_case"]) == 3
    assert distributed == one_by_one(trainer, cases, tmp_path)
    assert [row["case"] for row in distributed if row["class"] == "all"] == cases
    assert len({(row["quality"], row["voxels"]) for row in distributed if row["class"] == "all"}) == 3


def one_by_one(trainer, cases, folder):
    """Score each case in this process, told its name."""
    prepare(trainer)
    trainer.network.eval()
    report = QualityReport(output=str(folder))
    predictor = listening(report)(device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(trainer.network, trainer.plans_manager, trainer.configuration_manager, None,
                                    trainer.dataset_json, NAME, trainer.inference_allowed_mirroring_axes)  # fmt: skip
    dataset = trainer.dataset_class(trainer.preprocessed_dataset_folder, cases)
    for case in cases:
        predictor.expect([case])
        predictor.predict_sliding_window_return_logits(torch.from_numpy(dataset.load_case(case)[0][:]))
    return rows(folder / "quality.csv")


def rows(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def prepare(trainer):
    """Build the network, with the same random weights in every process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trainer.initialize()
    with torch.no_grad():
        for p in trainer.network.parameters():
            p += 0.2 * torch.randn_like(p)
        trainer.network.selection.update(torch.rand(trainer.network.depth))


def rank_main(rank, folder, plans, dataset_json):
    """One process: validate its own cases."""
    from trainers.conftest import construct

    trainer = construct(
        NAME, dict(plans), dataset_json
    )  # without a group: with one, nnU-Net would choose a GPU by rank
    prepare(trainer)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    trainer.network, trainer.is_ddp, trainer.local_rank = DistributedDataParallel(trainer.network), True, rank
    trainer.perform_actual_validation()
    dist.barrier()
    dist.destroy_process_group()
