"""`nnunet_ext predict --two-stage`: nnU-Net's own commands with a predictor that asks a coarse network first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nnunet_ext.cascade.predictor import Wanted, refining
from nnunet_ext.cascade.record import Record, foreground
from nnunet_ext.inference.manifest import PredictionManifest
from nnunet_ext.inference.predictor import replaced


def predict(arguments: Sequence[str], record: Record, wanted: Wanted, fine: Path | None = None) -> None:
    """Run nnUNetv2_predict, or with `fine` nnUNetv2_predict_from_modelfolder.

    Args:
        arguments: of that command.
        record: takes a row for each image; says at the end what it cost.
        wanted: in the place of what the plan says.
        fine: folder of the fine model, for one that `-d -tr -p -c` do not name.

    Raises:
        SystemExit: if nnU-Net does not understand the arguments.
        TrainedModelError: if a model, or a fold of it, is not there.
        TwoStageError: if the models do not fit each other, or a setting is not allowed.
    """
    from nnunetv2.inference import predict_from_raw_data as host

    made = []
    run, model = host.predict_entry_point, []
    if fine is not None:
        run, model = host.predict_entry_point_modelfolder, ["-m", str(fine)]
    command = ["nnunet_ext predict --two-stage", *model, *arguments]
    manifest = PredictionManifest(sys.argv)
    cls = refining(record, wanted, listeners=[manifest])

    def construct(*args: object, **kwargs: object) -> object:
        made.append(cls(*args, **kwargs))
        return made[-1]

    construct.auto_detect_available_folds = cls.auto_detect_available_folds  # type: ignore[attr-defined]
    with replaced(host, "nnUNetPredictor", construct), replaced(sys, "argv", command):
        run()
    for predictor in made:
        labels = predictor.dataset_json["labels"]
        record.finish(foreground(labels), predictor.settings.budget)
        coarse = {} if predictor.coarse is None else {"coarse_model": predictor.coarse.model.folder.name}
        manifest.finish({"two_stage": {**asdict(predictor.settings), **coarse}})
