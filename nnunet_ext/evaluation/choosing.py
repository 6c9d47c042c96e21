"""Which metrics are computed: names, sets of names, and what each needs."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence

from nnunet_ext.evaluation.metrics.registry import METRICS
from nnunet_ext.evaluation.problems import EvaluationError

DEFAULT = ("dice", "jaccard", "precision", "recall", "hd95", "assd_pooled")
SETS = ("counts", "distances", "probabilities")
SCORED = (*SETS, "masks")  # a value a case and class; others are of datasets, or of depth maps


def chosen_metrics(names: Sequence[str], probabilities: bool = False, images: bool = True) -> tuple[str, ...]:
    """Return the metrics that are meant, each once, in this order.

    Args:
        names: of `METRICS`, or one of the sets "counts", "distances", "probabilities" (without what papers' code
            computes), or "all", which is what can be computed here.
        probabilities: whether probabilities are read.
        images: whether label maps are read.

    Raises `EvaluationError` for an unknown name, one that cannot be computed here, and none at all.
    """
    found: dict[str, None] = {}
    for name in names:
        for metric in _members(name, probabilities, images):
            found[metric] = None
    for metric in found:
        _check(metric, probabilities, images)
    if not found:
        raise EvaluationError("no metric: type for example --metrics dice hd95")
    return tuple(found)


def _members(name: str, probabilities: bool, images: bool) -> list[str]:
    plain = [metric for metric in METRICS.values() if not metric.paper and not metric.extra]
    if name in SETS:
        return [metric.name for metric in plain if metric.needs == name]
    if name == "all":
        here = ["counts", *(["distances"] if images else []), *(["probabilities"] if probabilities else [])]
        return [metric.name for metric in plain if metric.needs in here]
    if name in METRICS:
        return [name]
    titled = [metric.name for metric in plain if metric.name.startswith(name) or name.lower() in metric.title.lower()]
    near = titled or difflib.get_close_matches(name, METRICS)
    meant = f" Do you mean {' or '.join(near)}?" if near else ""
    known = ", ".join(metric.name for metric in METRICS.values() if metric.needs in SCORED)
    raise EvaluationError(f"there is no metric {name!r}.{meant} Metrics are {known}; sets: {', '.join(SETS)}, all")


def _check(name: str, probabilities: bool, images: bool) -> None:
    metric = METRICS[name]
    if metric.needs == "confusion":
        raise EvaluationError(f"{name} is a score of the whole dataset; it is in summary.json under `dataset`, always")
    if metric.needs == "depth":
        raise EvaluationError(f"{name} is for depth maps: see nnunet_ext.evaluation.metrics.depth in Python")
    if metric.needs == "probabilities" and not probabilities:
        raise EvaluationError(f"{name} needs probabilities: predict with --save_probabilities, add --probabilities")
    if not images and metric.needs != "counts":
        raise EvaluationError(f"{name} needs the images: give -r and -p in the place of --summary")
    if metric.extra and importlib.util.find_spec("py_sod_metrics") is None:
        raise EvaluationError(f"{name} needs an optional package. Type: pip install 'nnunet-ext[{metric.extra}]'")
