"""Our predictor beside nnU-Net's: the same logits to the bit, and slices added as nnU-Net adds logits."""

import itertools

import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext.architectures.lifting.quality import agreement, binarise, margins, rank_order
from nnunet_ext.inference.predictor import replaced
from nnunet_ext.inference.slices import MirroredPasses, SlicedPrediction, lifted_network


def naive_margins(networks, image, patch, mirror_axes, sigmoid):
    """Margins in rank order, window by window and pass by pass, in float64."""
    planes, *size = image.shape[1:]
    if size != list(patch):  # windows of half overlap that fit exactly
        weight = compute_gaussian(patch, sigma_scale=1 / 8, value_scaling_factor=10, device="cpu").double()
    else:
        weight = torch.ones(patch, dtype=torch.float64)
    places = [range(0, s - p + 1, p // 2) for s, p in zip(size, patch, strict=True)]
    flips = [f for n in range(len(mirror_axes) + 1) for f in itertools.combinations([a + 2 for a in mirror_axes], n)]
    total = 0
    for network in networks:
        order = rank_order(network.selection.selected, network.selection.mean_loss)
        fold = None
        for plane, top, left in itertools.product(range(planes), *places):
            window = (plane, slice(top, top + patch[0]), slice(left, left + patch[1]))
            x = image[(slice(None), *window)][None]
            z = sum(torch.flip(network.slices(torch.flip(x, f)), [a + 1 for a in f]).double() for f in flips)
            m = margins(z, sigmoid)[0][:, order] * weight
            fold = torch.zeros(*m.shape[:2], planes, *size, dtype=torch.float64) if fold is None else fold
            fold[(slice(None), slice(None), *window)] += m
        total = total + fold
    return total


@pytest.mark.parametrize("kind", ["binary", "three", "regions"])
@pytest.mark.parametrize(
    ("n_folds", "size", "mirror_axes"),
    [(1, (1, 16, 16), (0, 1)), (1, (1, 24, 32), (0, 1)), (2, (1, 16, 16), (1,)), (2, (3, 16, 24), ())],
    ids=["one window", "windows", "folds", "folds and planes"],
)
@torch.inference_mode()
def test_slices_are_added_as_nnunet_adds_logits(make_predictors, kind, n_folds, size, mirror_axes):
    stock, ours, heard, networks = make_predictors(kind, n_folds, mirror_axes=mirror_axes or None)
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(7))
    expected = stock.predict_logits_from_preprocessed_data(image)
    assert torch.equal(ours.predict_logits_from_preprocessed_data(image), expected)
    sliced = heard.cases["case"]
    sigmoid = kind == "regions"
    assert torch.equal(sliced.prediction, binarise(margins(expected[None], sigmoid), sigmoid)[0])
    total = naive_margins(networks, image, (16, 16), mirror_axes, sigmoid)
    maps = binarise(total[None], sigmoid)[0]
    assert 0.02 < maps.float().mean() < 0.98  # else the comparison would be empty
    assert (sliced.maps() != maps).float().mean() < 2e-3  # nnU-Net adds windows in half precision, and so do we
    assert sliced.agreement().total == pytest.approx(float(agreement(maps, 5).total), abs=5e-3)
    assert sliced.orders == [rank_order(n.selection.selected, n.selection.mean_loss).tolist() for n in networks]


@torch.inference_mode()
def test_one_pass_of_one_window_is_the_network_itself(make_predictors):
    _, ours, heard, (network,) = make_predictors("three", use_mirroring=False)
    image = torch.randn(3, 1, 16, 16)
    ours.predict_logits_from_preprocessed_data(image)
    order = rank_order(network.selection.selected, network.selection.mean_loss)
    assert order[:5].tolist() == network.selection.selected.tolist()
    z = network.slices(image[:, 0][None])[0, :, order]
    torch.testing.assert_close(heard.cases["case"].probabilities()[:, :, 0], torch.softmax(z, 0)[1:])


@torch.inference_mode()
def test_images_smaller_than_the_patch_are_cut_as_nnunet_cuts_them(make_predictors):
    stock, ours, heard, _ = make_predictors(use_mirroring=False)
    image = torch.randn(3, 1, 11, 14)
    logits = ours.predict_logits_from_preprocessed_data(image)
    assert torch.equal(logits, stock.predict_logits_from_preprocessed_data(image))
    sliced = heard.cases["case"]
    assert sliced.sums.shape == (1, 16, 1, 11, 14)
    fused = torch.logit(sliced.probabilities()[0, :5].mean(0))
    decided = fused.abs() > 1e-2  # nnU-Net keeps logits in half precision
    assert decided.float().mean() > 0.9
    assert torch.equal((fused > 0)[decided], (logits.argmax(0) == 1)[decided])


@torch.inference_mode()
def test_windows_without_gaussian_weights(make_predictors):
    stock, ours, heard, _ = make_predictors(use_gaussian=False)
    image = torch.randn(3, 1, 24, 16)
    expected = stock.predict_logits_from_preprocessed_data(image)
    assert torch.equal(ours.predict_logits_from_preprocessed_data(image), expected)
    assert heard.cases["case"].weights.unique().tolist() == [1, 2]


@torch.inference_mode()
def test_a_compiled_network_predicts_the_same(make_predictors, monkeypatch):
    stock, ours, heard, _ = make_predictors()
    image = torch.randn(3, 1, 16, 16)
    expected = stock.predict_logits_from_preprocessed_data(image)
    compiled = []

    def compile_eagerly(module, **_):
        compiled.append(module)
        return torch._dynamo.optimize("eager")(module)

    monkeypatch.setenv("nnUNet_compile", "t")
    monkeypatch.setattr(torch, "compile", compile_eagerly)
    ours.manual_initialization(ours.network, ours.plans_manager, ours.configuration_manager, ours.list_of_parameters,
                               ours.dataset_json, ours.trainer_name, (0, 1))  # fmt: skip
    assert len(compiled) == 2
    torch.testing.assert_close(ours.predict_logits_from_preprocessed_data(image), expected)
    assert heard.cases.keys() == {"case"}


def test_networks_are_found_in_their_wrappers(make_predictors):
    _, _, _, (network,) = make_predictors()
    assert lifted_network(distributed(torch.compile(network))) is network
    assert lifted_network(torch.nn.Linear(1, 1)) is None
    assert lifted_network(None) is None


@pytest.mark.parametrize("compiled", [True, False])
def test_networks_are_found_in_the_wrappers_of_distributed_validation(make_predictors, monkeypatch, compiled):
    """nnU-Net's trainer hands over compile(DDP(compile(network))), where it compiles."""
    _, ours, _, (network,) = make_predictors()
    monkeypatch.setenv("nnUNet_compile", "t")
    inner = torch.compile(network) if compiled else network
    ours.manual_initialization(distributed(inner), ours.plans_manager, ours.configuration_manager, None,
                               ours.dataset_json, ours.trainer_name, (0, 1))  # fmt: skip
    assert isinstance(ours.network, OptimizedModule) == compiled
    assert lifted_network(ours.network) is network
    assert isinstance(ours._gatherer.network, OptimizedModule) == compiled


def distributed(network):
    """Wrap without a process group."""
    wrapped = DistributedDataParallel.__new__(DistributedDataParallel)
    torch.nn.Module.__init__(wrapped)
    wrapped.module = network
    return wrapped


@torch.inference_mode()
def test_other_networks_predict_without_slices(make_predictors):
    stock, ours, heard, _ = make_predictors(trainer="nnUNetTrainerExt_Plain_UNet")
    image = torch.randn(3, 1, 16, 16)
    expected = stock.predict_logits_from_preprocessed_data(image)
    assert torch.equal(ours.predict_logits_from_preprocessed_data(image), expected)
    assert heard.cases == {}


@torch.inference_mode()
def test_a_device_without_memory_leaves_the_work_to_the_cpu_and_counts_once(make_predictors):
    stock, ours, heard, _ = make_predictors()
    image = torch.randn(3, 1, 24, 24)
    expected = stock.predict_logits_from_preprocessed_data(image)
    ours.predict_logits_from_preprocessed_data(image)
    once = heard.cases.pop("case").sums
    ours.perform_everything_on_device, attempts = True, []
    plain = ours._gatherer.network

    class Full(torch.nn.Module):
        def forward(self, x):
            attempts.append(1)
            if len(attempts) == 6:
                raise RuntimeError("out of memory")
            return plain(x)

    ours._gatherer.network = Full()
    assert torch.equal(ours.predict_logits_from_preprocessed_data(image), expected)
    assert len(attempts) == 6 + 4 * 4
    assert torch.equal(heard.cases["second"].sums, once)


@pytest.mark.parametrize("n_folds", [1, 2])
@torch.inference_mode()
def test_slices_that_cannot_be_gathered_leave_nnunets_prediction(make_predictors, n_folds):
    stock, ours, heard, _ = make_predictors(n_folds=n_folds)
    image = torch.randn(3, 1, 24, 24)
    plain, calls = ours._gatherer.network, []

    class Full(torch.nn.Module):
        def forward(self, x):
            calls.append(1)
            if len(calls) > 16 * (n_folds - 1) + 3:  # in the last fold
                raise torch.OutOfMemoryError("CUDA out of memory")
            return plain(x)

    ours._gatherer.network = Full()
    expected = stock.predict_logits_from_preprocessed_data(image)
    assert torch.equal(ours.predict_logits_from_preprocessed_data(image), expected)
    assert heard.failures == {"case": "OutOfMemoryError: CUDA out of memory"}
    ours._gatherer.network = plain
    assert torch.equal(ours.predict_logits_from_preprocessed_data(image), expected)
    assert heard.cases.keys() == {"second"}


@torch.inference_mode()
def test_a_listener_that_fails_leaves_the_prediction(make_predictors):
    stock, ours, heard, _ = make_predictors()
    image = torch.randn(3, 1, 16, 16)
    heard.case = lambda *_: 1 / 0
    expected = stock.predict_logits_from_preprocessed_data(image)
    assert torch.equal(ours.predict_logits_from_preprocessed_data(image), expected)
    assert heard.failures == {"case": "ZeroDivisionError: division by zero"}


@torch.inference_mode()
def test_large_margins_do_not_overflow_half_precision(make_predictors):
    _, ours, heard, _ = make_predictors("three", n_folds=3, use_mirroring=False)

    class Loud(torch.nn.Module):
        def forward(self, x):
            logits, slices = plain(x)
            return logits, 1e6 * slices

    plain, ours._gatherer.network = ours._gatherer.network, Loud()
    image = torch.randn(3, 1, 24, 32)
    ours.predict_logits_from_preprocessed_data(image)
    sliced = heard.cases["case"]
    assert sliced.sums.dtype == torch.half
    assert bool(torch.isfinite(sliced.sums).all())
    assert sliced.sums.abs().max() > 1000
    assert bool(torch.isfinite(sliced.probabilities()).all())


def test_a_volume_is_never_binarised_as_a_whole(monkeypatch):
    from nnunet_ext.architectures.lifting import quality

    sizes = []
    plain = quality.binarise
    monkeypatch.setattr(quality, "binarise", lambda m, sigmoid: sizes.append(m[0, 0].numel()) or plain(m, sigmoid))
    monkeypatch.setattr(quality, "PIECE", 32)
    sliced = SlicedPrediction(False, 2)
    sliced.add(torch.randn(3, 4, 5, 6, 8), torch.ones(5, 6, 8), range(4))
    sliced.close(torch.randn(4, 5, 6, 8))
    sliced.agreement()
    sliced.maps()
    assert max(sizes) <= 4 * 32  # 4 slices
    assert len(sizes) == 3 * 5 * 2


def test_another_way_of_mirroring_is_noticed():
    passes = MirroredPasses(lambda x: (x, torch.zeros(1, 2, 4, 3, 3)), (0, 1), False)
    passes(torch.zeros(1))
    with pytest.raises(RuntimeError, match="mirrors in another way"):
        _ = passes.total


def test_replaced_names_come_back_after_an_error():
    class Owner:
        name = 1

    def fail():
        with replaced(Owner, "name", 2):
            raise KeyError(Owner.name)

    with pytest.raises(KeyError, match="2"):
        fail()
    assert Owner.name == 1
