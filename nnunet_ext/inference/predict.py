"""`nnunet_ext predict`: nnU-Net's own command with a predictor that listens."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nnunet_ext.inference.predictor import listening, replaced
from nnunet_ext.inference.report import QualityReport


def predict(arguments: Sequence[str], report: QualityReport) -> None:
    """Run nnUNetv2_predict.

    Args:
        arguments: of nnUNetv2_predict.
        report: gets the qualities.

    Raises:
        SystemExit: if nnU-Net does not understand the arguments.
        QualityError: if the report asks for what the network cannot give.
    """
    from nnunetv2.inference import predict_from_raw_data as host

    command = ["nnunet_ext predict", *arguments]
    with replaced(host, "nnUNetPredictor", listening(report)), replaced(sys, "argv", command):
        host.predict_entry_point()
    report.finish()
