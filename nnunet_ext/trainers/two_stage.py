"""How a training is the second of two stages: its validation is selective, its coarse network was there before.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701), section 3. The second network is trained as any other, on patches of the image alone; what makes it the
second is the plan: a configuration with `selective_refinement` (`cascade/settings.py`). So every trainer of this
package can be either stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os.path import join
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host  # noqa: N813  (the module)

from nnunet_ext.cascade.coarse import CoarseModel
from nnunet_ext.cascade.predictor import Wanted, neighbour, refining
from nnunet_ext.cascade.record import FILE_NAME, Record, foreground
from nnunet_ext.cascade.settings import PREVIOUS_TRAINER, SelectiveRefinement, TwoStageError
from nnunet_ext.inference.predictor import replaced
from nnunet_ext.inference.trained_model import DEFAULT_CHECKPOINT

if TYPE_CHECKING:
    from nnunet_ext.trainers.base import nnUNetTrainerExt


def labels_of_previous_stage(trainer: nnUNetTrainerExt) -> str | None:
    """Return the folder of the labels that nnU-Net's own cascade reads, if the plan names another trainer for it.

    nnU-Net looks for the first stage under the second one's trainer; a plan with `previous_stage_trainer` says which
    trainer's it is.
    """
    previous = trainer.configuration_manager.previous_stage_name
    other = trainer.configuration_manager.configuration.get(PREVIOUS_TRAINER)
    if previous is None or other is None:
        return None
    stage = "__".join((other, trainer.plans_manager.plans_name, previous))
    return str(Path(trainer.output_folder_base).parent / stage / "predicted_next_stage" / trainer.configuration_name)


def _coarse_command(trainer: nnUNetTrainerExt, settings: SelectiveRefinement) -> str:
    name = settings.coarse_trainer or type(trainer).__name__
    plans, dataset = trainer.plans_manager, trainer.plans_manager.dataset_name
    return f"nnUNetv2_train {dataset} {settings.coarse_configuration} {trainer.fold} -p {plans.plans_name} -tr {name}"


def is_second_stage(trainer: nnUNetTrainerExt) -> bool:
    """Whether the configuration is validated selectively."""
    return SelectiveRefinement.of(trainer.configuration_manager.configuration) is not None


def look_for_coarse(trainer: nnUNetTrainerExt) -> str | None:
    """Look for what the validation will need, before the training begins.

    Returns:
        A line for the log if the coarse network of this fold is still in training; None if all is there, or if this is
        no second stage.

    Raises:
        TwoStageError: if nobody has begun to train it.
    """
    settings = SelectiveRefinement.of(trainer.configuration_manager.configuration)
    if settings is None:
        return None
    fold = neighbour(Path(trainer.output_folder_base), settings) / f"fold_{trainer.fold}"
    if (fold / DEFAULT_CHECKPOINT).is_file():
        return None
    command = _coarse_command(trainer, settings)
    if not fold.is_dir():
        raise TwoStageError(
            f"configuration {trainer.configuration_name} is validated with the coarse network of the same fold, and "
            f"{fold} is not there. Type first: {command}"
        )
    return f"{fold} has no {DEFAULT_CHECKPOINT} yet; the validation at the end of this training needs it: {command} --c"


@contextmanager
def selective_validation(trainer: nnUNetTrainerExt) -> Iterator[None]:
    """Let nnU-Net's validation inside the block be selective, if the configuration is a second stage.

    The coarse network is that of the same fold, so that no case was in the training of either.
    `validation/two_stage.csv` says what each case cost. nnU-Net is as before after the block, whatever happens in it.

    Raises:
        TrainedModelError: if there is no coarse network of this fold.
        TwoStageError: if it does not fit.
    """
    settings = SelectiveRefinement.of(trainer.configuration_manager.configuration)
    if settings is None:
        yield
        return
    rank, world = (trainer.local_rank, dist.get_world_size()) if trainer.is_ddp else (0, 1)
    folder, name = Path(trainer.output_folder_base), DEFAULT_CHECKPOINT
    model = Wanted().coarse_model(settings, folder, (str(trainer.fold),), name)
    coarse = CoarseModel(model, trainer.device, settings.coarse_mirroring)
    record = Record(lambda line: trainer.print_to_log_file(line), FILE_NAME)
    record.open(Path(join(trainer.output_folder, "validation")), False, rank, world)
    own = sorted(trainer.do_split()[1][rank::world])  # nnU-Net's datasets sort what they are given
    trainer.print_to_log_file(f"selective validation: {settings.budget} of the windows, coarse network {model.folder}")
    predictor = refining(record, fixed=(coarse, settings), names=own, properties_of=_properties(trainer))
    with replaced(host, "nnUNetPredictor", predictor):
        yield
    if rank == 0 and world > 1:
        record.join(world)
    larger = f'Raise "budget" of {trainer.configuration_name} in the plans'
    record.finish(foreground(trainer.dataset_json["labels"]), settings.budget, larger)


def _properties(trainer: nnUNetTrainerExt) -> Callable[[str], dict[str, Any]]:
    dataset_class: Any = trainer.dataset_class or infer_dataset_class(trainer.preprocessed_dataset_folder)

    def of(case: str) -> dict[str, Any]:
        properties: dict[str, Any] = dataset_class(trainer.preprocessed_dataset_folder, [case]).load_case(case)[3]
        return properties

    return of
