"""A machine-readable record of a prediction, beside what was predicted: what ran, on what, how long, in what memory.

nnU-Net and its evaluation look for files of the dataset's ending, so that a JSON file more does not disturb them.
"""

from __future__ import annotations

import json
import os
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_ext import __version__
from nnunet_ext.inference.predictor import QualityPredictor
from nnunet_ext.machine import device_name, installed_versions, peak_memory, reset_peak_memory

FILE_NAME = "nnunet_ext_manifest.json"


class PredictionManifest:
    """Listens to a predictor, and writes `nnunet_ext_manifest.json`: before work, and again when it is done.

    Args:
        command: as typed.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command, self._begin = list(command), time.monotonic()
        self._content: dict[str, Any] = {}
        self._predictor: QualityPredictor | None = None
        self._path: Path | None = None
        self._first = 0.0

    def gatherer(self, predictor: QualityPredictor) -> None:
        """Take the predictor, of which nothing is gathered."""
        self._predictor = predictor
        reset_peak_memory(str(predictor.device))

    def folder(self, path: str, keep: bool, part: int = 0, n_parts: int = 1) -> None:
        """Write what is known before work; each part of a divided prediction writes its own file."""
        if self._predictor is None:
            return
        name = FILE_NAME if n_parts == 1 else f"{Path(FILE_NAME).stem}_part{part}.json"
        self._path, self._first = Path(path) / name, time.monotonic()
        self._content = {**describe(self._predictor), "command": shlex.join(self._command), "started": _now()}
        self._content |= {"continued": keep, "finished": None}
        self._write()

    def case(self, name: str, found: Any, image: Tensor) -> None:
        """Take a case; there is nothing to do."""

    def failed(self, name: str, why: str) -> None:
        """Take that nothing could be gathered beside a case; there is nothing to do."""

    def finish(self, more: Mapping[str, Any] | None = None) -> None:
        """Write what the prediction took.

        Args:
            more: entries to add.
        """
        if self._predictor is None or self._path is None:
            return
        cases, end = self._predictor.n_cases, time.monotonic()
        a_case = round((end - self._first) / cases, 4) if cases else None
        seconds = {"seconds": round(end - self._begin, 3), "seconds_per_case": a_case}
        memory = peak_memory(str(self._predictor.device))
        self._content |= {"finished": _now(), "cases": cases, **seconds, **memory, **(more or {})}
        self._write()

    def _write(self) -> None:
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.write_text(json.dumps(self._content, indent=2, default=str) + "\n", encoding="utf-8")
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)


def describe(predictor: QualityPredictor) -> dict[str, Any]:
    """Return what predicts: trainer, model, folds, checkpoint, settings, device and versions."""
    folder, folds, checkpoint = predictor.model or ("", (), "")
    return {
        "trainer": predictor.trainer_name,
        "dataset": predictor.plans_manager.dataset_name,
        "plans": predictor.plans_manager.plans_name,
        "model": Path(folder).name,
        "folds": list(folds),
        "checkpoint": checkpoint,
        "mirroring": bool(predictor.use_mirroring),
        "step_size": predictor.tile_step_size,
        "scales": None if predictor.scales is None else str(predictor.scales),
        "device": str(predictor.device),
        "device_name": device_name(str(predictor.device)),
        "nnunet_ext": __version__,
        "versions": installed_versions(),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
