"""All metrics by name, with what a table and a command need to know about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from nnunet_ext.evaluation.metrics import alignment, confusion, counts, depth, paper_compat, probability, surface
from nnunet_ext.evaluation.metrics.correction_effort import human_correction_effort
from nnunet_ext.evaluation.metrics.structure import s_measure
from nnunet_ext.evaluation.metrics.weighted_f import weighted_f_measure

Needs = Literal["counts", "distances", "masks", "probabilities", "confusion", "depth"]
Better = Literal["higher", "lower", "zero"]


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes:
        name: key in `METRICS`, a column's name.
        title: for people.
        unit: "", "%", or "px", which is the unit of the spacing where that is known.
        better: "higher", "lower", or "zero" for a signed difference.
        needs: what `compute` takes. "counts": a `Counts`. "distances": a `SurfaceDistances`. "masks": reference and
            prediction, boolean. "probabilities": boolean reference and probabilities. "confusion": the summed confusion
            matrix of a dataset. "depth": true and predicted depth, and a mask.
        compute: the function; it returns a float, a `Mean` for some of "confusion", or an array for arrays of counts.
        dims: axes of the images it is defined for, None for any.
        paper: whether it is arithmetic of a paper's code that should not be used otherwise.
        extra: the optional packages' name if it needs them.
    """

    name: str
    title: str
    unit: str
    better: Better
    needs: Needs
    compute: Callable[..., Any]
    dims: int | None = None
    paper: bool = False
    extra: str = ""

    def unit_with(self, length: str) -> str:
        """Return the unit where lengths are in `length`, e.g. "mm"."""
        return length if self.unit == "px" else self.unit


def _metrics() -> list[Metric]:
    return [*_of_counts(), *_of_distances(), *_of_probabilities(), *_of_others(), *_of_papers()]


def _of_counts() -> list[Metric]:
    c = counts
    return [
        Metric("dice", "Dice", "", "higher", "counts", c.dice),
        Metric("jaccard", "Jaccard (IoU)", "", "higher", "counts", c.jaccard),
        Metric("precision", "Precision", "", "higher", "counts", c.precision),
        Metric("recall", "Recall (sensitivity)", "", "higher", "counts", c.recall),
        Metric("specificity", "Specificity", "", "higher", "counts", c.specificity),
        Metric("f1", "F1", "", "higher", "counts", c.f_beta),
        Metric("f_beta03", "F-beta, beta² = 0.3", "", "higher", "counts", partial(c.f_beta, beta2=0.3)),
        Metric("conformity", "Conformity", "", "higher", "counts", c.conformity),
        Metric("rvd", "Relative volume difference", "%", "zero", "counts", c.relative_volume_difference),
        Metric("abs_rvd", "Absolute volume difference", "%", "lower", "counts", c.absolute_volume_difference),
        Metric("mae", "Mean absolute error", "", "lower", "counts", c.mean_absolute_error),
        Metric("pixel_accuracy", "Pixel accuracy", "", "higher", "counts", c.pixel_accuracy),
        Metric("e_measure", "E-measure of the mask", "", "higher", "counts", alignment.e_measure),
    ]


def _of_distances() -> list[Metric]:
    s = surface
    return [
        Metric("hd", "Hausdorff distance", "px", "lower", "distances", s.hausdorff),
        Metric("hd95", "HD95 (larger directed)", "px", "lower", "distances", s.hausdorff_percentile),
        Metric("hd95_pooled", "HD95 (pooled)", "px", "lower", "distances", s.hausdorff_percentile_pooled),
        Metric("assd_mean_of_means", "ASSD (mean of means)", "px", "lower", "distances", s.assd_mean_of_means),
        Metric("assd_pooled", "ASSD (pooled)", "px", "lower", "distances", s.assd_pooled),
        Metric("directed_mean", "Mean distance, prediction to reference", "px", "lower", "distances", s.directed_mean),
        Metric("nsd", "Surface Dice within 1", "", "higher", "distances", s.surface_dice),
        Metric("nsd2", "Surface Dice within 2", "", "higher", "distances", partial(s.surface_dice, tolerance=2.0)),
    ]


def _of_probabilities() -> list[Metric]:
    a, p = alignment, probability
    return [
        Metric("soft_dice", "Soft Dice", "", "higher", "probabilities", p.soft_dice),
        Metric("soft_mae", "MAE of probabilities", "", "lower", "probabilities", p.soft_mean_absolute_error),
        Metric("weighted_f", "Weighted F-measure", "", "higher", "probabilities", weighted_f_measure, dims=2),
        Metric("s_measure", "S-measure", "", "higher", "probabilities", s_measure, dims=2),
        Metric("e_adaptive", "E-measure (adaptive)", "", "higher", "probabilities", a.e_measure_adaptive),
        Metric("e_mean", "E-measure (mean)", "", "higher", "probabilities", a.e_measure_mean),
        Metric("e_max", "E-measure (maximum)", "", "higher", "probabilities", a.e_measure_max),
    ]


def _of_others() -> list[Metric]:
    hce, m, d = human_correction_effort, confusion, depth
    at = [partial(d.delta_accuracy, power=power) for power in (1, 2, 3)]
    return [
        Metric("hce", "HCE (native size)", "", "lower", "masks", hce, dims=2, extra="metrics"),
        Metric("hce_64px", "HCE (64 x 64)", "", "lower", "masks", partial(hce, size=64), dims=2, extra="metrics"),
        Metric("mean_iou", "Mean IoU of the dataset", "", "higher", "confusion", m.mean_iou),
        Metric("mean_accuracy", "Mean accuracy of the classes", "", "higher", "confusion", m.mean_accuracy),
        Metric("accuracy", "Pixel accuracy of the dataset", "", "higher", "confusion", m.pixel_accuracy_of_classes),
        Metric("rmse", "RMSE", "", "lower", "depth", d.rmse),
        Metric("abs_rel", "Absolute relative error", "", "lower", "depth", d.abs_rel),
        Metric("delta1", "Within a factor of 1.25", "", "higher", "depth", at[0]),
        Metric("delta2", "Within a factor of 1.25²", "", "higher", "depth", at[1]),
        Metric("delta3", "Within a factor of 1.25³", "", "higher", "depth", at[2]),
    ]


def _of_papers() -> list[Metric]:
    p = paper_compat
    paper = partial(Metric, paper=True)
    return [
        paper("mae_uint8_wrap", "MAE as IFE's code has it", "", "lower", "counts", p.mae_uint8_wrap),
        paper("f_beta_1e4", "F1 as IFE's code has it", "", "higher", "counts", p.f_beta_1e4),
        paper("conformity_floor0", "Conformity as IFE's code has it", "", "higher", "counts", p.conformity_floor0),
        paper("dice_empty0", "Dice as IFE's code has it", "", "higher", "counts", p.dice_empty0),
        paper("hd_empty0", "HD as IFE's code has it", "px", "lower", "distances", p.hd_empty0),
        paper("asd_empty0", "ASD as IFE's code has it", "px", "lower", "distances", p.asd_empty0),
        paper("hce64", "HCE as IFE's code has it", "", "lower", "masks", p.hce64, dims=2, extra="metrics"),
        paper("m2snet_soft_dice", "mDice as M2SNet's code has it", "", "higher", "probabilities", p.m2snet_soft_dice),
        paper("m2snet_iou", "IoU as M2SNet's code has it", "", "higher", "counts", p.m2snet_iou),
    ]


METRICS: dict[str, Metric] = {metric.name: metric for metric in _metrics()}
