"""Metrics of masks, class maps, probability maps and depth, as pure functions of NumPy arrays; no nnU-Net, no torch.

    from nnunet_ext.evaluation.metrics import Counts, dice, hausdorff, surface_distances

    counts = Counts.of(reference == 1, prediction == 1)      # or Counts.from_summary(table)
    dice(counts), hausdorff(surface_distances(reference == 1, prediction == 1, spacing=(2.0, 0.5, 0.5)))

Masks are boolean. What is undefined is NaN, see `undefined`. `METRICS` holds all of them by name.
"""

from nnunet_ext.evaluation.metrics.alignment import (
    e_measure,
    e_measure_adaptive,
    e_measure_curve,
    e_measure_max,
    e_measure_mean,
)
from nnunet_ext.evaluation.metrics.confusion import (
    by_category,
    class_accuracy,
    class_iou,
    confusion_matrix,
    mean_accuracy,
    mean_iou,
    pixel_accuracy_of_classes,
)
from nnunet_ext.evaluation.metrics.correction_effort import human_correction_effort
from nnunet_ext.evaluation.metrics.counts import (
    Counts,
    absolute_volume_difference,
    conformity,
    dice,
    f_beta,
    jaccard,
    mean_absolute_error,
    pixel_accuracy,
    precision,
    recall,
    relative_volume_difference,
    specificity,
)
from nnunet_ext.evaluation.metrics.depth import abs_rel, delta_accuracy, rmse
from nnunet_ext.evaluation.metrics.instances import instance_counts, instance_iou
from nnunet_ext.evaluation.metrics.probability import soft_dice, soft_mean_absolute_error
from nnunet_ext.evaluation.metrics.registry import METRICS, Metric
from nnunet_ext.evaluation.metrics.structure import s_measure
from nnunet_ext.evaluation.metrics.surface import (
    SurfaceDistances,
    assd_mean_of_means,
    assd_pooled,
    directed_mean,
    hausdorff,
    hausdorff_percentile,
    hausdorff_percentile_pooled,
    penalised,
    surface_dice,
    surface_distances,
)
from nnunet_ext.evaluation.metrics.undefined import Mean, mean_of_defined
from nnunet_ext.evaluation.metrics.weighted_f import weighted_f_measure

__all__ = [
    "METRICS",
    "Counts",
    "Mean",
    "Metric",
    "SurfaceDistances",
    "abs_rel",
    "absolute_volume_difference",
    "assd_mean_of_means",
    "assd_pooled",
    "by_category",
    "class_accuracy",
    "class_iou",
    "conformity",
    "confusion_matrix",
    "delta_accuracy",
    "dice",
    "directed_mean",
    "e_measure",
    "e_measure_adaptive",
    "e_measure_curve",
    "e_measure_max",
    "e_measure_mean",
    "f_beta",
    "hausdorff",
    "hausdorff_percentile",
    "hausdorff_percentile_pooled",
    "human_correction_effort",
    "instance_counts",
    "instance_iou",
    "jaccard",
    "mean_absolute_error",
    "mean_accuracy",
    "mean_iou",
    "mean_of_defined",
    "penalised",
    "pixel_accuracy",
    "pixel_accuracy_of_classes",
    "precision",
    "recall",
    "relative_volume_difference",
    "rmse",
    "s_measure",
    "soft_dice",
    "soft_mean_absolute_error",
    "specificity",
    "surface_dice",
    "surface_distances",
    "weighted_f_measure",
]
