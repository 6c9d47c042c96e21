"""Surface scores against MONAI's."""

import math

import numpy as np
import pytest

from nnunet_ext.evaluation import metrics as m

torch = pytest.importorskip("torch")
monai = pytest.importorskip("monai.metrics")


def blob(shape, threshold, seed):
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return field > threshold * field.std()


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((60, 70), None), ((60, 70), (1.5, 0.4)), ((14, 24, 20), None), ((14, 24, 20), (3.0, 1.0, 0.5))],
)
@pytest.mark.parametrize("threshold", [0.5, 2.2])
def test_surface_scores_are_monais(shape, spacing, threshold):
    reference, prediction = blob(shape, threshold, 1), blob(shape, threshold, 2)
    d = m.surface_distances(reference, prediction, spacing)
    y_pred, y = (torch.from_numpy(mask)[None, None].float() for mask in (prediction, reference))
    options = {"include_background": True, "spacing": spacing}
    hd, hd95 = (monai.compute_hausdorff_distance(y_pred, y, percentile=q, **options).item() for q in (None, 95))
    asd, assd = (
        monai.compute_average_surface_distance(y_pred, y, symmetric=s, **options).item() for s in (False, True)
    )
    nsd = monai.compute_surface_dice(y_pred, y, class_thresholds=[1.2], **options).item()
    assert [m.hausdorff(d), m.hausdorff_percentile(d)] == pytest.approx([hd, hd95], rel=1e-5)
    assert [m.directed_mean(d), m.assd_pooled(d)] == pytest.approx([asd, assd], rel=1e-5)
    assert m.surface_dice(d, 1.2) == pytest.approx(nsd, rel=1e-5)
    assert math.isfinite(hd)
