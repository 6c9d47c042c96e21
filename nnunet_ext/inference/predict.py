"""`nnunet_ext predict`: nnU-Net's own command with a predictor that listens."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nnunet_ext.inference.manifest import PredictionManifest
from nnunet_ext.inference.offset_report import OffsetReport
from nnunet_ext.inference.predictor import listening, replaced
from nnunet_ext.inference.report import QualityReport
from nnunet_ext.inference.scales import Scales


def predict(
    arguments: Sequence[str],
    report: QualityReport,
    offsets: OffsetReport | None = None,
    scales: Scales | None = None,
) -> None:
    """Run nnUNetv2_predict, and leave `nnunet_ext_manifest.json` beside the predictions.

    Args:
        arguments: of nnUNetv2_predict.
        report: gets the qualities.
        offsets: gets the offset vectors, if they are to be written.
        scales: of the image to predict at; None: nnU-Net's own.

    Raises:
        SystemExit: if nnU-Net does not understand the arguments.
        QualityError: if the report asks for what the network cannot give, or not at several scales.
        OffsetError: if offset vectors are asked for where there are none, or none of one scale.
        ScalesError: if the scales' sum is not one for the network's outputs.
    """
    from nnunetv2.inference import predict_from_raw_data as host

    command = ["nnunet_ext predict", *arguments]
    listeners = (report,) if offsets is None else (offsets, report)
    manifest = PredictionManifest(sys.argv)
    with (
        replaced(host, "nnUNetPredictor", listening(*listeners, manifest, scales=scales)),
        replaced(sys, "argv", command),
    ):
        host.predict_entry_point()
    for listener in listeners:
        listener.finish()
    manifest.finish()
