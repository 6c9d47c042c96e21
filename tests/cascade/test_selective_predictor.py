"""The predictor in two stages beside nnU-Net's own, and beside a loop over windows."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

from nnunet_ext.cascade.settings import SelectiveRefinement, TwoStageError


def image(*shape, seed=3):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))


def blobs(*shape):
    """Smooth noise, so that windows differ."""
    return F.interpolate(torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(5)), shape, mode="bilinear")[
        0
    ][:, None]


@pytest.mark.parametrize("kind", ["binary", "three", "regions"])
def test_the_whole_budget_is_nnunets_own_prediction(two_stages, kind):
    ours, stock, _, record = two_stages(kind, budget=1.0, folds=2)
    x = image(1, 40, 50)
    assert torch.equal(ours.predict_logits_from_preprocessed_data(x), stock.predict_logits_from_preprocessed_data(x))
    assert record.rows[0].selected == record.rows[0].windows


@pytest.mark.parametrize("kind", ["binary", "three", "regions"])
def test_all_windows_through_our_own_sum_are_nnunets_prediction(two_stages, kind):
    ours, stock, _, _ = two_stages(kind, budget=0.5, coarse_weight=0.0)
    x = image(1, 64, 80)
    slicers = stock._internal_get_sliding_window_slicers(x.shape[1:])
    with ours._image(x):
        merged = ours._merged(x, slicers, ours._case, False)
    labels = [p.label_manager.convert_logits_to_segmentation(m.float()) for p, m in
              ((ours, merged), (stock, stock.predict_logits_from_preprocessed_data(x)))]  # fmt: skip
    assert (labels[0] == labels[1]).float().mean() >= 0.9999
    assert len(labels[0].unique()) > 1


@pytest.mark.parametrize("enlarged", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["binary", "three", "regions"])
def test_without_a_budget_it_is_the_coarse_map(two_stages, kind, enlarged):
    ours, _, coarse, record = two_stages(kind, budget=0.0, coarse_enlarged=enlarged)
    x = image(1, 40, 48)
    logits = ours.predict_logits_from_preprocessed_data(x).float()
    low = F.adaptive_avg_pool2d(x[:, 0], (10, 12))[:, None]
    raw = coarse.predict_logits_from_preprocessed_data(low).float()

    def activated(x):
        return x.sigmoid() if kind == "regions" else x.softmax(0)

    def large(x):
        return F.interpolate(x.transpose(0, 1), (40, 48), mode="bilinear").transpose(0, 1)

    wanted = activated(large(raw)) if enlarged == "logits" else large(activated(raw))
    torch.testing.assert_close(activated(logits), wanted, atol=1e-3, rtol=0)
    assert ours.network.images == 0
    assert (record.rows[0].selected, record.rows[0].fine_forwards) == (0, 0)


@pytest.mark.parametrize(("budget", "forwards"), [(1.0, 196), (0.25, 52), (0.125, 28), (0.0625, 16)])
def test_forwards_are_those_of_the_chosen_windows(two_stages, budget, forwards):
    """As 2048 x 2048 with patches of 512: 49 windows, four mirrored passes each; the coarse map is one window."""
    ours, _, coarse, record = two_stages(budget=budget)
    ours.predict_logits_from_preprocessed_data(image(1, 64, 64))
    assert ours.network.images == forwards == record.rows[0].fine_forwards
    assert coarse.network.images == 4 == record.rows[0].coarse_forwards
    assert record.rows[0].windows == 49


@pytest.mark.parametrize("w0", [0.0, 0.5])
@pytest.mark.parametrize("criterion", ["mean_prob", "pixel_margin"])
def test_against_a_loop_over_windows(two_stages, w0, criterion):
    ours, _, coarse, _ = two_stages("three", budget=0.3, coarse_weight=w0, criterion=criterion, mirroring=False)
    x = blobs(40, 50)
    found = ours.predict_logits_from_preprocessed_data(x).float().softmax(0)[:, 0]
    low = F.adaptive_avg_pool2d(x[:, 0], (10, 12))  # nnU-Net rounds 12.5 to the even number
    raw = coarse.predict_logits_from_preprocessed_data(low[:, None]).float()
    p_low = raw.softmax(0)
    p = F.interpolate(raw.transpose(0, 1), (40, 50), mode="bilinear")[0].softmax(0).double()
    means = F.interpolate(p_low.transpose(0, 1), (40, 50), mode="bilinear")[0].double()  # probabilities are scored
    best = p_low[:, 0].sort(0, descending=True).values
    margin = F.interpolate((best[0] - best[1])[None, None], (40, 50), mode="bilinear")[0, 0]
    windows = list(itertools.product(*compute_steps_for_sliding_window((40, 50), (16, 16), 0.5)))
    boxes = [(slice(a, a + 16), slice(b, b + 16)) for a, b in windows]
    scores = [float(margin[b].mean()) if criterion == "pixel_margin" else float(means[:, b[0], b[1]].mean((1, 2)).max())
              for b in boxes]  # fmt: skip
    chosen = np.argsort(scores, kind="stable")[: int(np.ceil(0.3 * len(boxes)))]
    gaussian = compute_gaussian((16, 16), 1 / 8, 10, device=torch.device("cpu")).double()
    total, weight = torch.zeros_like(p), torch.zeros(40, 50, dtype=torch.float64)
    for i in chosen:
        here = (slice(None), *boxes[i])
        total[here] += gaussian * ours.network(x[:, 0][here][None])[0].double().detach()
        weight[boxes[i]] += gaussian
    for y, x_ in itertools.product(range(40), range(50)):
        g = weight[y, x_]
        if g > 0:
            p[:, y, x_] = (g * (total[:, y, x_] / g).softmax(0) + w0 * p[:, y, x_]) / (g + w0)
    assert 0.2 < (weight > 0).double().mean() < 0.9
    difference = (found.double() - p).abs()
    assert difference.max() < 0.02  # sums in half precision, as nnU-Net's
    assert difference.mean() < 2e-4


def test_folds_share_one_coarse_pass_and_one_choice(two_stages):
    ours, _, coarse, record = two_stages("three", budget=0.3, folds=3, coarse_weight=0.0)
    x = blobs(40, 48)
    found = ours.predict_logits_from_preprocessed_data(x).float().softmax(0)
    assert coarse.network.images == 4
    assert ours.network.images == 3 * 4 * record.rows[0].selected == record.rows[0].fine_forwards
    one, _, _, _ = two_stages("three", budget=0.3, coarse_weight=0.0)
    coarse_map = F.softmax(two_stages("three", budget=0.0)[0].predict_logits_from_preprocessed_data(x).float(), 0)
    alone = one.predict_logits_from_preprocessed_data(x).float().softmax(0)
    untouched = (alone - coarse_map).abs().amax(0) < 1e-6
    assert 0.1 < untouched.float().mean() < 0.9
    assert torch.allclose(found[:, untouched], coarse_map[:, untouched], atol=1e-3)


def test_the_control_draws_windows_anew_for_each_case(two_stages):
    def chosen(name):
        ours, _, _, _ = two_stages(budget=0.2, criterion="random")
        ours.expect([name])
        x = blobs(64, 64)
        with ours._image(x):
            return ours.confidences(ours._internal_get_sliding_window_slicers(x.shape[1:]))

    assert torch.equal(chosen("a"), chosen("a"))
    assert not torch.equal(chosen("a"), chosen("b"))


@pytest.mark.parametrize(
    ("shape", "patch", "kind"),
    [((1, 11, 50), (16, 16), "three"), ((1, 9, 7), (16, 16), "binary"), ((4, 33, 40), (16, 16), "three"),
     ((20, 22, 30), (8, 16, 16), "three"), ((5, 22, 30), (8, 16, 16), "regions"), ((1, 33, 40), (16, 16), "one")],
    ids=["narrow", "small", "slices", "volume", "flat volume", "one class"],
)  # fmt: skip
@pytest.mark.parametrize("budget", [0.0, 0.3, 1.0])
def test_any_shape_gives_finite_numbers(two_stages, shape, patch, kind, budget):
    ours, stock, _, record = two_stages(kind, patch, [8] * len(patch), budget=budget)
    logits = ours.predict_logits_from_preprocessed_data(image(*shape))
    assert logits.shape == stock.predict_logits_from_preprocessed_data(image(*shape)).shape
    assert logits.isfinite().all()
    assert record.rows[0].selected == int(np.ceil(budget * record.rows[0].windows - 1e-9))


def test_a_failure_gives_the_memory_back_before_nnunet_begins_anew(two_stages):
    """nnU-Net begins anew while it handles the error, whose traceback holds all that the first try had."""
    ours, _, _, record = two_stages(budget=0.3)
    ours.perform_everything_on_device = True  # as on a GPU: a RuntimeError is answered by another try
    made, plain, fail = [], ours.fine_sum, [True]

    def fine_sum(*arguments):
        if made:
            assert made[0].logits.numel() == 0
        made.append(plain(*arguments))
        return made[-1]

    forward = ours.network.conv.forward

    def once(x):
        if fail and len(made) == 1 and ours.network.images > 9:
            fail.clear()
            raise RuntimeError("out of memory")
        return forward(x)

    ours.fine_sum, ours.network.conv.forward = fine_sum, once
    ours.predict_logits_from_preprocessed_data(image(1, 64, 64))
    assert len(made) == 2
    assert record.rows[0].fine_forwards == 15 * 4


def test_maps_are_merged_in_full_precision_under_autocast(two_stages):
    x = blobs(40, 48)
    plain = two_stages("three", budget=0.0)[0].predict_logits_from_preprocessed_data(x)
    ours, _, _, _ = two_stages("three", budget=0.0)
    with ours._image(x), torch.autocast("cpu", torch.bfloat16):
        merged = ours._merged(x, [], ours._case, False)
    assert torch.equal(merged, plain)


def test_a_failure_leaves_nothing_of_the_case(two_stages):
    ours, _, _, record = two_stages(budget=0.3)
    ours.network.conv.forward = lambda x: (_ for _ in ()).throw(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        ours.predict_logits_from_preprocessed_data(image(1, 40, 40))
    assert ours._case is None
    assert record.rows == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 1.5}, "from 0 to 1; got 1.5"),
        ({"budget": "0.25"}, "budget is a number; got '0.25'"),
        ({"criterion": "entropy"}, "mean_prob, pixel_margin, random"),
        ({"max_confidence": 0.7}, "from 0 to 0.5"),
        ({"coarse_weight": -1.0}, "at least 0"),
        ({"coarse_enlarged": "labels"}, "logits, probabilities"),
    ],
)
def test_settings_that_are_not_allowed(change, message):
    with pytest.raises(TwoStageError, match=message):
        SelectiveRefinement("2d_lowres", **change)


def test_what_a_plan_says_is_read_and_checked():
    assert SelectiveRefinement.of({}) is None
    settings = SelectiveRefinement("2d_lowres", "nnUNetTrainerSLUNet", 0.125)
    assert SelectiveRefinement.of({"selective_refinement": settings.as_plan()}) == settings
    with pytest.raises(TwoStageError, match="unknown budgets"):
        SelectiveRefinement.of({"selective_refinement": {"coarse_configuration": "2d_lowres", "budgets": 1}})
    with pytest.raises(TwoStageError, match="lacks coarse_configuration"):
        SelectiveRefinement.of({"selective_refinement": {"budget": 0.5}})


def test_models_of_different_datasets_are_refused(two_stages):
    ours, _, _, _ = two_stages()
    other, _, _, _ = two_stages("three")
    with pytest.raises(TwoStageError, match=r"labels: .*'a': 1.*--coarse"):
        other.coarse.check(ours, "FINE")
    other, _, _, _ = two_stages()
    other.coarse.predictor.plans_manager.plans["dataset_name"] = "Dataset007_Other"
    with pytest.raises(TwoStageError, match=r"dataset: Dataset007_Other \(coarse\), Dataset900_Tiny \(fine\)"):
        other.coarse.check(ours, "FINE")
