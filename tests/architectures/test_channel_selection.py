"""The channels that are given twice: which, in what order, and what they do to gradients."""

import math
import warnings

import pytest
import torch
from support import pickled

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection, n_selected, take_channels

SCORES = (
    "curvature", "entropy", "entropy_image", "entropy_batch", "entropy_unique", "entropy_joint", "random",
)  # fmt: skip


def features(b=2, c=8, size=(12, 10), seed=0):
    """Maps whose channels have gains of their own."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((b, c, *size), generator=generator).relu()
    return x * (0.2 + torch.rand(c, generator=generator)).view(1, -1, *[1] * len(size))


@pytest.mark.parametrize("score", SCORES)
def test_the_highest_scores_stand_behind_the_map_in_descending_order(score):
    select, x = ChannelSelection(8, 0.5, score).eval(), features()
    y = select(x)
    assert y.shape == (2, 12, 12, 10)
    assert select.out_channels == 12
    assert torch.equal(y[:, :8], x)
    for image, scores, selected in zip(x, select.scores(x).tolist(), y[:, 8:], strict=True):
        order = sorted(range(8), key=lambda c, s=scores: -s[c])[:4]  # stable: of equal scores, the lower channel
        assert torch.equal(selected, torch.stack([image[c] for c in order]))


def test_orders():
    x = features()
    ranked = ChannelSelection(8, 0.5)
    chosen = ranked.choose(ranked.scores(x))
    assert torch.equal(ChannelSelection(8, 0.5, selected_first=True)(x), torch.cat([ranked(x)[:, 8:], x], 1))
    by_index = ChannelSelection(8, 0.5, by_index=True)(x)[:, 8:]
    assert torch.equal(by_index, take_channels(x, chosen.sort(1).values))


def test_equal_scores_are_taken_from_the_front():
    select = ChannelSelection(6, 0.5)
    assert select.choose(torch.tensor([[1.0, 2, 2, 1, 2, 2]])).tolist() == [[1, 2, 4]]
    assert select.choose(torch.full((1, 6), -math.inf)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("channels", "ratio", "k"),
    [(128, 0.75, 96), (100, 0.29, 29), (7, 0.5, 3), (5, 0, 0), (5, 1, 5), (0, 0.5, 0), (10, 0.3, 3)],
)
def test_how_many_are_selected(channels, ratio, k):
    assert n_selected(channels, ratio) == k
    assert ChannelSelection(channels, ratio).out_channels == channels + k


def test_nothing_to_select_is_the_identity():
    x = features()
    assert ChannelSelection(8, 0)(x) is x
    assert ChannelSelection(8, 0.1)(x) is x
    empty = torch.zeros(2, 0, 4, 4)
    assert ChannelSelection(0, 0.75)(empty) is empty


def test_everything_selected_is_a_permutation_of_the_map():
    x = features()
    y = ChannelSelection(8, 1.0)(x)[:, 8:]
    assert torch.equal(y.sum((2, 3)).sort(1).values, x.sum((2, 3)).sort(1).values)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("size", [(9, 7), (4, 6, 5)])
def test_the_gradient_of_a_selected_channel_is_added_to_its_own(score, size):
    x = features(size=size).requires_grad_()
    select = ChannelSelection(8, 0.5, score).eval()
    y = select(x)
    g = torch.randn_like(y)
    y.backward(g)
    expected = g[:, :8].clone()
    for b, row in enumerate(select.choose(select.scores(x)).tolist()):
        for place, c in enumerate(row):
            expected[b, c] += g[b, 8 + place]
    assert torch.allclose(x.grad, expected, atol=1e-6)


@pytest.mark.parametrize("score", [s for s in SCORES if s != "entropy_batch"])
def test_an_image_is_treated_the_same_alone_and_mirrored(score):
    x = (features(3) * 64).round() / 64
    select = ChannelSelection(8, 0.5, score).eval()
    assert torch.equal(select(x)[1:2], select(x[1:2]))
    assert torch.equal(select(x.flip(2, 3)), select(x).flip(2, 3))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_select_what_float32_does(score, dtype):
    x = (features() * 200).to(dtype)  # 100 i + j is beyond the range of float16
    select = ChannelSelection(8, 0.5, score).eval()
    with torch.autocast("cpu", dtype=dtype):
        half = select(x)
    assert half.dtype == dtype
    assert torch.equal(half.float(), select(x.float()))


def test_nothing_is_learned():
    assert not list(ChannelSelection(8, 0.5).parameters())
    assert not ChannelSelection(8, 0.5).state_dict()
    assert list(ChannelSelection(8, 0.5, "random").state_dict()) == ["draw"]


def test_the_control_draws_anew_in_training_and_never_in_evaluation():
    x = torch.arange(400.0).view(1, 400, 1, 1).expand(3, -1, 4, 4)
    select = ChannelSelection(400, 0.25, "random")
    drawn = select(x)[:, 400:, 0, 0]
    assert all(len(set(row.tolist())) == 100 for row in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn, select(x)[:, 400:, 0, 0])
    assert drawn.mean() == pytest.approx(199.5, abs=40)
    fixed = select.eval()(x)[:, 400:, 0, 0]
    assert torch.equal(fixed, select(x)[:, 400:, 0, 0])
    assert torch.equal(fixed[0], fixed[1])
    other = ChannelSelection(400, 0.25, "random")
    assert not torch.equal(other.draw, select.draw), "repeats of a training have draws of their own"
    other.load_state_dict(pickled(select.state_dict()))
    assert torch.equal(other.eval()(x)[:, 400:, 0, 0], fixed)


def test_a_channel_that_is_not_finite_is_not_given_twice():
    x = features()
    x[:, 3, 2, 2] = math.nan
    for score in ("curvature", "entropy", "entropy_joint", "entropy_unique"):
        assert torch.isfinite(ChannelSelection(8, 0.75, score)(x)[:, 8:]).all()


@pytest.mark.parametrize("score", SCORES)
def test_one_graph_and_deterministic_algorithms(score):
    x, select = features(), ChannelSelection(8, 0.5, score).eval()
    expected = select(x)
    torch._dynamo.reset()
    assert torch.equal(torch.compile(select, backend="eager", fullgraph=True)(x), expected)
    torch.use_deterministic_algorithms(True)
    try:
        y = select(x.requires_grad_())
        y.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(y, expected)


def test_refusals():
    for ratio in (-0.1, 1.01, math.nan):
        with pytest.raises(ValueError, match=rf"ratio={ratio}.*0 to 1"):
            ChannelSelection(8, ratio)
    with pytest.raises(ValueError, match=r"score='curve': choose of curvature, entropy"):
        ChannelSelection(8, 0.5, "curve")
    with pytest.raises(ValueError, match=r"axes=\(1, 3\): spatial axes are numbered from 0"):
        ChannelSelection(8, 0.5, axes=(1, 3))
    with pytest.raises(ValueError, match=r"the map has 8 channels; this selection was built for 4"):
        ChannelSelection(4, 0.5)(features())


def test_scores_that_are_all_the_same_give_a_warning_once():
    x = torch.randn(2, 8, 12, 10)
    select = ChannelSelection(8, 0.5, "entropy_unique")
    with pytest.warns(UserWarning, match="choose 'entropy', whose histogram has bins"):
        select(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        select(x)
        ChannelSelection(8, 0.5, "entropy_unique")(x.relu())
        ChannelSelection(8, 0.5, "entropy")(x)


@pytest.mark.parametrize("score", ["entropy", "entropy_unique"])
def test_it_exports_as_onnx(score, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    select = ChannelSelection(8, 0.5, score).eval()
    program = torch.onnx.export(
        select, (features(),), dynamo=True, verbose=False, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    program.save(tmp_path / "selection.onnx")
    session = runtime.InferenceSession(str(tmp_path / "selection.onnx"))
    x = features(3, seed=1)
    x[:, 2:5] = x[:, 1:2]  # equal scores
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.equal(torch.from_numpy(y), select(x))
