"""Errors whose message is for the user."""

from __future__ import annotations

import sys

USER_ERRORS = {
    "nnunet_ext.dataset_conversion.problems": "ConversionError",
    "nnunet_ext.parallel": "WorkerError",
    "nnunet_ext.run.commands": "CommandError",
    "nnunet_ext.run.demo_folder": "DemoFolderError",
    "nnunet_ext.run.demo_data": "DemoDataError",
    "nnunet_ext.trainers.suffixes": "TrainerNameError",
    "nnunet_ext.weights": "WeightsError",
    "nnunet_ext.trainers.checkpoints": "CheckpointError",
    "nnunet_ext.evaluation.summary": "SummaryError",
    "nnunet_ext.evaluation.problems": "EvaluationError",
    "nnunet_ext.evaluation.quality": "QualityTableError",
    "nnunet_ext.evaluation.collect": "CollectError",
    "nnunet_ext.evaluation.statistics.scores": "ComparisonError",
    "nnunet_ext.inference.table": "QualityError",
    "nnunet_ext.inference.scales": "ScalesError",
    "nnunet_ext.inference.offset_report": "OffsetError",
    "nnunet_ext.architectures.topology": "UnsupportedPlanError",
    "nnunet_ext.inference.trained_model": "TrainedModelError",
    "nnunet_ext.inference.onnx_file": "OnnxError",
    "nnunet_ext.inference.attribution": "AttributionError",
    "nnunet_ext.inference.cases": "CasesError",
    "nnunet_ext.inference.inspection": "InspectionError",
    "nnunet_ext.cascade.settings": "TwoStageError",
}


class CommandLineError(Exception):
    """Something about the call itself; the message says what to type."""


def expected_errors() -> tuple[type[BaseException], ...]:
    """Errors whose message is for the user; found without importing rooms that were not used."""
    loaded = [getattr(sys.modules[module], name) for module, name in USER_ERRORS.items() if module in sys.modules]
    return (CommandLineError, *loaded)
