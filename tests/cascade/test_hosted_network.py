"""Both stages in one network: against reference vectors and against a loop over pixels and cells."""

import copy
import math

import numpy as np
import pytest
import torch
from support import REFERENCE, pickled
from torch import nn

from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError
from nnunet_ext.cascade.crops import cells_of, image_of, shrink
from nnunet_ext.cascade.hosted import TwoStageNetSpec

SMALL = (4, 6, 8, 10, 12)


def build(grid=2, factor=2, regions=False, outputs=3):
    """A network whose probabilities are neither all alike nor all sure."""
    torch.manual_seed(0)
    network = TwoStageNetSpec(grid, factor, SMALL).build(None, 2, outputs, False).eval()
    for p in network.parameters():
        p.data += 0.15 * torch.randn_like(p)
    network.set_sigmoid(regions)
    return network


def image(*size, batch=2):
    return torch.randn(batch, 2, *size, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------------------------------------- reference vectors


class Given(nn.Module):
    """Gives each cell the logits that were made for it; a cell says which it is by its value."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits[x[:, 0, 0, 0].long()]


@pytest.mark.parametrize("np_", [2, 4, 8])
def test_choice_and_result_are_the_authors(np_):
    path = REFERENCE / "twostage_regions.npz"
    if not path.is_file():
        pytest.skip("reference vectors are not here")
    with np.load(path) as file:
        vectors = {k: torch.from_numpy(file[k]) for k in file.files if k.startswith("g")}
    prob = vectors["g.prob"].float()[None]
    network = build(np_, outputs=2)
    assert network.choose(cells_of(prob, np_))[0].tolist() == vectors[f"g{np_}.selected"].tolist()
    network.coarse_probabilities = lambda x: prob
    network.fine = Given(vectors[f"g{np_}.fine_prob"].float().log())
    side = 32 // np_
    x = torch.arange(np_**2.0).reshape(np_, np_).repeat_interleave(side, 0).repeat_interleave(side, 1)
    found = network(x[None, None]).softmax(1)[0]
    assert (found - vectors[f"g{np_}.merged_hard"]).abs().max() < 2e-6


# ---------------------------------------------------------------------------------------------------------- plain loops


def averaged(x, size):
    """`(C, H, W)` to `(C, *size)`: the mean of every pixel that a smaller one touches."""
    out = np.empty((x.shape[0], *size))
    for i, j in np.ndindex(*size):
        rows, columns = ((k * s // t, -(-(k + 1) * s // t)) for k, s, t in zip((i, j), x.shape[1:], size, strict=True))
        out[:, i, j] = x[:, slice(*rows), slice(*columns)].mean((1, 2))
    return out


def enlarged(p, size):
    """`(K, h, w)` to `(K, *size)`: linearly between pixel centres, the outermost ones repeated."""
    out = np.empty((p.shape[0], *size))
    for i, j in np.ndindex(*size):
        at = [min(max((k + 0.5) * s / t - 0.5, 0), s - 1) for k, s, t in zip((i, j), p.shape[1:], size, strict=True)]
        (a, u), (b, v) = ((int(c), c - int(c)) for c in at)
        c, d = min(a + 1, p.shape[1] - 1), min(b + 1, p.shape[2] - 1)
        out[:, i, j] = (1 - u) * ((1 - v) * p[:, a, b] + v * p[:, a, d]) + u * ((1 - v) * p[:, c, b] + v * p[:, c, d])
    return out


def padded(x, grid):
    missing = [-s % grid for s in x.shape[1:]]
    return np.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing)), mode="edge"), [m // 2 for m in missing]


def by_loops(network, x, grid, factor, regions):
    """Probabilities of one image `(C, H, W)`, and the cells that were refined."""

    def probabilities(net, image):
        with torch.no_grad():
            z = net(torch.from_numpy(image)[None].float())[0].double()
        return (z.sigmoid() if regions else z.softmax(0)).numpy()

    size = x.shape[1:]
    p = enlarged(probabilities(network.coarse, averaged(x, [s // factor for s in size])), size)
    (x, _), (p, before) = padded(x, grid), padded(p, grid)
    height, width = (s // grid for s in x.shape[1:])
    scores = {}
    for i, j in np.ndindex(grid, grid):
        means = p[:, i * height : (i + 1) * height, j * width : (j + 1) * width].mean((1, 2))
        scores[i, j] = min(abs(m - 0.5) for m in means) if regions else max(means) - 0.5
    chosen = sorted(scores, key=lambda cell: scores[cell])[:grid]
    for i, j in chosen:
        box = (slice(None), slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width))
        p[box] = probabilities(network.fine, np.ascontiguousarray(x[box]))
    return p[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]], chosen


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize(("size", "grid", "factor"), [((32, 48), 2, 2), ((45, 38), 4, 3)])
def test_by_a_loop_over_pixels_and_cells(size, grid, factor, regions):
    network, x = build(grid, factor, regions), image(*size)
    with torch.no_grad():
        logits = network(x)
    found = (logits.sigmoid() if regions else logits.softmax(1)).double().numpy()
    places = []
    for b in range(2):
        expected, chosen = by_loops(network, x[b].double().numpy(), grid, factor, regions)
        assert np.abs(found[b] - expected).max() < 1e-5
        places.append(chosen)
    assert places[0] != places[1], "each image has cells of its own"


def test_equal_cells_are_taken_in_their_order():
    network = build(4)
    p = torch.full((2, 3, 32, 32), 1 / 3)
    assert network.choose(cells_of(p, 4)).tolist() == [[0, 1, 2, 3]] * 2
    p[:, :, 8:16, 16:24] *= torch.tensor([0.9, 0.9, 1.2]).view(3, 1, 1)
    p[:, :, :8, :8] *= torch.tensor([1.05, 1.05, 0.9]).view(3, 1, 1)
    assert network.choose(cells_of(p, 4)).tolist() == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_the_fine_network_sees_np_cells_of_each_image_as_one_batch(grid):
    network, seen = build(grid), []
    network.fine.register_forward_pre_hook(lambda module, x: seen.append(tuple(x[0].shape)))
    network(image(64, 32))
    assert seen == [(2 * grid, 2, 64 // grid, 32 // grid)]


def test_what_is_returned_is_safe_in_half_precision():
    for regions in (False, True):
        network = build(2, 2, regions)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(image(64, 64))
            assert logits.dtype == torch.float32
            for m in (network.coarse, network.fine):
                m.head.seg_layers[0].weight.data *= 1e4  # sure of everything
            sure = network(image(64, 64))
        assert torch.isfinite(logits).all()
        assert sure.abs().max() < 15


def test_softmax_gives_the_probabilities_back():
    network = build()
    with torch.no_grad():
        logits = network(image(64, 64))
    assert torch.allclose(logits.exp().sum(1), torch.ones(2, 64, 64), atol=1e-5)


def test_cells_are_put_together_as_they_were_cut():
    x = torch.randn(2, 3, 12, 20)
    cells = cells_of(x, 4)
    assert torch.equal(cells[16 + 6], x[1, :, 3:6, 10:15])
    assert torch.equal(image_of(cells, 4), x)


def test_shrinking_is_a_mean_over_boxes():
    x = torch.randn(1, 2, 16, 24)
    assert torch.allclose(shrink(x, (2, 3)), x.reshape(1, 2, 2, 8, 3, 8).mean((3, 5)), atol=1e-6)


def test_a_checkpoint_says_whether_outputs_are_sigmoids():
    trained, x = build(regions=True), image(64, 64)
    network = TwoStageNetSpec(2, 2, SMALL).build(None, 2, 3, False).eval()
    network.load_state_dict(pickled(trained.state_dict()))
    with torch.no_grad():
        assert torch.equal(network(x), trained(x))
        assert torch.equal(copy.deepcopy(network)(x), trained(x))


# ------------------------------------------------------------------------------------------------------------- refusals


def topology(*patch):
    n = len(patch)
    ones = ((1,) * n,)
    return Topology(dims=n, patch_size=patch, features=(4,), strides=ones, kernels=ones, encoder_blocks=(1,),
                    decoder_convs=())  # fmt: skip


def test_plans_that_are_too_small_are_refused():
    TwoStageNetSpec(8).check(topology(256, 320))
    TwoStageNetSpec(2, 2).check(topology(64, 64))
    with pytest.raises(UnsupportedPlanError, match=r"16 x 16 of them, have \[16, 20\].*Np2.*\[512, 512\]"):
        TwoStageNetSpec(16).check(topology(256, 320))
    with pytest.raises(UnsupportedPlanError, match=r"8 times smaller, have \[31, 64\].*TwoStageUNet.*\[256, 512\]"):
        TwoStageNetSpec(2).check(topology(250, 512))
    with pytest.raises(UnsupportedPlanError, match=r"3D.*2D only"):
        TwoStageNetSpec().check(topology(256, 256, 256))


def test_parts_that_cannot_be():
    for wrong in ({"grid": 0}, {"factor": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            TwoStageNetSpec(**wrong)


def test_a_size_that_fits_needs_no_padding():
    fitting = TwoStageNetSpec(4, 8).fitting_size(topology(512, 512), (500, 700))
    assert all(s % (4 * 32) == s % (8 * 32) == 0 for s in fitting)
    assert all(math.isclose(s, want, rel_tol=0.3) for s, want in zip(fitting, (500, 700), strict=True))


@pytest.mark.slow  # tracing takes seconds
@pytest.mark.parametrize("regions", [False, True])
def test_exports_to_onnx(tmp_path, regions):
    from nnunet_ext.inference.onnx_file import write_onnx

    file = write_onnx(build(4, 2, regions), (2, 66, 64), tmp_path / "model.onnx", None, regions)
    assert file.found.excess < 0.1
