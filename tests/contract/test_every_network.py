"""One contract for every trainer and every composition; a new preset or part joins by itself."""

import copy
from dataclasses import replace
from itertools import product

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support import make_plans, pickled
from torch import Tensor, nn

from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published.deeplabv3plus import DeepLabV3PlusSpec
from nnunet_ext.architectures.published.hrnet import HRNetSpec
from nnunet_ext.architectures.published.ovenet_hrnet import OVeNetHRNetSpec
from nnunet_ext.architectures.published.sinetv2 import SINetV2Spec
from nnunet_ext.architectures.published.two_stage_unet import TwoStageUNetSpec
from nnunet_ext.architectures.published.unet import UNetSpec
from nnunet_ext.cascade.hosted import TwoStageNetSpec
from nnunet_ext.trainers import naming
from nnunet_ext.trainers.naming import COMPOSITION, PARTS, PRESETS, SLOTS, resolve

K = 3


def compositions():
    """All combinations of parts, each slot left out or filled; one name for each network that no preset has."""
    choices = [["", *[p.name for p in PARTS if p.slot == slot]] for slot in SLOTS]
    names = ["_".join(w for w in words if w) for words in product(*choices)]
    by_spec = {resolve(f"{COMPOSITION}_{n}").spec: f"{COMPOSITION}_{n}" for n in names if n}
    for name in PRESETS:
        by_spec.pop(resolve(name).spec, None)
    return list(by_spec.values())


OPTIONS_OF_PARTS = (
    "nnUNetTrainerExt_Plain_OVeDecoder",
    "nnUNetTrainerExt_M2S_OVeShared20",
    "nnUNetTrainerExt_IFEEntropyJointS0R50S2R100",
)


def cases():
    """(trainer, plan) for every trainer and every kind of plan that it supports."""
    plans = {
        "2d": {"patch_size": [64, 96]},
        "2d_residual": {"patch_size": [64, 64], "residual": True},
        "2d_deep": {"patch_size": [32, 64], "n_stages": 4},
        "3d": {"patch_size": [16, 16, 8]},
        "3d_anisotropic": {"patch_size": [6, 16, 16], "anisotropic": True},
        "3d_residual": {"patch_size": [16, 8, 16], "residual": True},
    }
    enhanced = {  # by default, the skips of stages 1 and 2 are
        "2d_deep": plans["2d_deep"],
        "3d_anisotropic": {"patch_size": [8, 16, 16], "n_stages": 4, "anisotropic": True},
        "3d_residual": {"patch_size": [16, 8, 16], "n_stages": 4, "residual": True},
    }
    kinds_of_enhanced = {"nnUNetTrainerIFECurvature": 3, "nnUNetTrainerIFEEntropy": 2}
    for name in [*PRESETS, *compositions(), *OPTIONS_OF_PARTS]:
        spec = resolve(name).spec
        if spec is None:  # the plan's own network, built by nnU-Net
            continue
        kinds = plans
        if getattr(spec, "enhancement", None) is not None:
            kinds = dict(list(enhanced.items())[: kinds_of_enhanced.get(name, 1)])
        for kind, arguments in kinds.items():
            if int(kind[0]) in spec.dims and not (spec.dims == (2,) and kind != next(iter(kinds))):
                yield pytest.param(name, arguments, id=f"{name.removeprefix('nnUNetTrainer')}-{kind}")


def narrow(spec):
    """The same network with few channels and modules; the whole ones are in tests/architectures."""
    if isinstance(spec, HRNetSpec):
        branch = {"branch_modules": (1, 1)} if isinstance(spec, OVeNetHRNetSpec) else {}
        return replace(spec, width=4, modules=(1, 1, 1), **branch)
    if isinstance(spec, TwoStageNetSpec):  # whose cells and coarse images would be smaller than its network takes
        return replace(spec, features=(4, 6, 8, 10, 12), grid=2, factor=2)
    if isinstance(spec, UNetSpec | TwoStageUNetSpec):
        return replace(spec, features=(4, 6, 8, 10, 12))
    if isinstance(spec, DeepLabV3PlusSpec):
        return replace(spec, encoder="resnet18", width=8)
    if isinstance(spec, SINetV2Spec):
        return replace(spec, backbone="test_resnet")
    return spec


def build(name, arguments, deep_supervision=False, n_channels=3):
    """Build a trainer's network on a tiny plan; returns it with its patch size and the plan's scales."""
    manager = PlansManager(make_plans(**arguments))
    (configuration,) = manager.plans["configurations"]
    settings = manager.get_configuration(configuration)
    torch.manual_seed(0)
    trainer = resolve(name)
    trainer = type(name, (trainer,), {"spec": narrow(trainer.spec)})
    network = trainer.build_network_architecture(
        manager, settings, n_channels, K, enable_deep_supervision=deep_supervision
    )
    return network, tuple(settings.patch_size), settings.pool_op_kernel_sizes


def tensors(output):
    """All tensors in whatever a network returns."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return [t for o in output for t in tensors(o)]


def image(patch, batch=2, channels=3):
    """A random image batch."""
    return torch.randn(batch, channels, *patch, generator=torch.Generator().manual_seed(1))


def settled(network, patch):
    """In evaluation mode; batch norms have the statistics of a forward pass, as after an epoch of training."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.momentum = None  # the mean of all passes, here of one
    with torch.no_grad():
        network.train()(image(patch))
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum
    return network.eval()


COMPILED_OF_IFE = ("nnUNetTrainerIFECurvature", "nnUNetTrainerIFEEntropy", "nnUNetTrainerUNet_IFECurvature")
# tracing these takes up to a minute; others of their kind are compiled in any case: SLUNet_5L1Res, 2D networks of every
# size, a lifted M2S, UNet_IFECurvature, MSNets on a small backbone in tests/architectures/test_msnet.py, HRNets in
# those of theirs, parts of SINetV2 in test_enhanced_networks.py; of the TwoStageNets, made equal above, one
SLOW_TO_COMPILE = (
    *(f"nnUNetTrainerSLUNet{size}" for size in ("", "_5L2Res", "_8L1Res", "_8L2Res")),
    *(f"nnUNetTrainer{name}_Res2Net50" for name in ("MSNet", "M2SNet")),
    "nnUNetTrainerM2SNet_Res2Net50_DenseFilter",
    "nnUNetTrainerExt_Plain_MS_SL16",
    "nnUNetTrainerExt_Plain_UNet_SL16",
    *(name for name in PRESETS if "HRNet" in name or "DeepLab" in name or "SINetV2" in name),
    *(f"nnUNetTrainerExt_Plain_{decoder}_OVe{lifted}" for decoder in ("MS", "M2S") for lifted in ("", "_SL16")),
    "nnUNetTrainerExt_Plain_UNet_OVe_SL16",
    "nnUNetTrainerUNet",
    *(f"nnUNetTrainerTwoStageNet{np}" for np in ("", "_Np2", "_Np8", "_Np16")),
    *(name for name in (*PRESETS, *compositions(), *OPTIONS_OF_PARTS) if "IFE" in name and name not in COMPILED_OF_IFE),
)
pytestmark = pytest.mark.parametrize(("name", "arguments"), list(cases()))


def test_inference_returns_one_logits_tensor_of_its_own_memory(name, arguments):
    network, patch, _ = build(name, arguments)
    with torch.no_grad():
        logits = settled(network, patch)(image(patch))
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, K, *patch)
    assert torch.isfinite(logits).all()
    assert logits.abs().max() < 1000  # nnU-Net sums them in half precision, times ten
    logits += 1  # nnU-Net adds in place; an expanded view would raise


def test_deep_supervision_returns_the_plans_scales_finest_first(name, arguments):
    if not resolve(name).spec.supports_deep_supervision:
        assert not hasattr(build(name, arguments)[0], "decoder")
        return
    network, patch, strides = build(name, arguments, deep_supervision=True)
    with torch.no_grad():
        outputs = network.eval()(image(patch))
    sizes, size = [], list(patch)
    for stride in strides[:-1]:
        size = [s // d for s, d in zip(size, stride, strict=True)]
        sizes.append((2, K, *size))
    assert [tuple(o.shape) for o in outputs] == sizes
    network.decoder.deep_supervision = False
    assert torch.equal(network(image(patch)), outputs[0])


def test_training_gives_every_parameter_a_finite_gradient(name, arguments):
    network, patch, _ = build(name, arguments, deep_supervision=True)
    output = network.train()(image(patch))
    assert isinstance(output, Tensor | list | TrainingOutput)
    found = tensors(output)
    assert all(torch.isfinite(t).all() for t in found)
    sum((t * torch.randn_like(t)).sum() for t in found).backward()
    without = [n for n, p in network.named_parameters() if p.requires_grad != (p.grad is not None)]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.requires_grad)


def test_weights_of_deep_supervision_load_strictly_without(name, arguments):
    trained, patch, _ = build(name, arguments, deep_supervision=True)
    state = trained.state_dict()
    # dynamic_network_architectures' blocks list their own layers a second time as `all_modules`
    pointers = [t.data_ptr() for k, t in state.items() if t.numel() > 1 and ".all_modules." not in k]
    assert len(pointers) == len(set(pointers)), "a tensor stands twice in the state dict"
    network, _, _ = build(name, arguments, deep_supervision=False)
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(0.1)
    assert network.load_state_dict(pickled(state), strict=True)
    expected = trained.eval()(image(patch))
    expected = expected if isinstance(expected, Tensor) else expected[0]
    assert torch.equal(network.eval()(image(patch)), expected)


def test_images_of_a_batch_do_not_see_each_other_at_inference(name, arguments):
    network, patch, _ = build(name, arguments)
    x = image(patch)
    with torch.no_grad():
        both, alone = settled(network, patch)(x), network(x[1:])
    assert torch.allclose(both[1:], alone, rtol=1e-4, atol=1e-4)


def test_other_channel_counts_build(name, arguments):
    network, patch, _ = build(name, arguments, n_channels=1)
    assert network.eval()(image(patch, 1, 1)).shape == (1, K, *patch)


def test_compiles_to_one_graph(name, arguments, request):
    if name in SLOW_TO_COMPILE and "slow" not in request.config.option.markexpr.replace("not slow", ""):
        pytest.skip("slow; others of its kind are compiled by default. Run with -m 'slow or not slow'")
    network, patch, _ = build(name, arguments, deep_supervision=True)
    x = image(patch)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for mode in (True, False):
        network.train(mode)
        both = []
        for form in (compiled, network):
            torch.manual_seed(0)  # for dropout
            both.append(tensors(form(x)))
        for ours, plain in zip(*both, strict=True):
            assert torch.allclose(ours, plain, atol=1e-5)


def test_class_pickles_and_is_the_same_object_each_time(name, arguments):
    trainer = resolve(name)
    assert trainer.__name__ == name
    assert pickled(trainer) is trainer
    short = resolve(f"{name}_3epochs_7iters")
    assert getattr(naming, short.__name__) is short is pickled(short)
    assert (short.recipe.num_epochs, short.recipe.num_iterations_per_epoch) == (3, 7)
    assert issubclass(short, trainer)


def test_network_copies_and_describes_itself(name, arguments):
    network, patch, _ = build(name, arguments)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(network).eval()(image(patch)), network.eval()(image(patch)))
    described = resolve(name).describe_network()
    assert described
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in described.items())
    assert isinstance(network, nn.Module)
