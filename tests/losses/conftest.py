"""Reference vectors, and the VGG of some of them: its weights are drawn, written as a user's file and read."""

import numpy as np
import pytest
import torch
from support import REFERENCE
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_ext.losses.lossnet import LossNet, vgg16_features
from nnunet_ext.weights import FOLDER

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512)


def drawn_weights():
    """The recipe of the reference vectors, from NumPy's frozen legacy generator."""
    rs = np.random.RandomState(0)
    state = {}
    for i, c_in, c_out in zip(CONVOLUTIONS, CHANNELS, CHANNELS[1:], strict=False):
        weight = (rs.standard_normal((c_out, c_in, 3, 3)) * np.sqrt(2 / (9 * c_in))).astype(np.float32)
        bias = (rs.standard_normal(c_out) * 0.05).astype(np.float32)
        state |= {f"features.{i}.weight": torch.from_numpy(weight), f"features.{i}.bias": torch.from_numpy(bias)}
    return state


@pytest.fixture(scope="module")
def state():
    return drawn_weights()


@pytest.fixture(scope="module")
def vgg(state, tmp_path_factory):
    """The network of a user's file that holds a whole VGG-16 (its classifier cut short here)."""
    folder = tmp_path_factory.mktemp("weights")
    rest = {"features.24.weight": torch.zeros(2, 2), "classifier.0.weight": torch.zeros(2, 2)}
    torch.save(state | rest, folder / "vgg16-397923af.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(folder))
        return vgg16_features("-")


@pytest.fixture(scope="module")
def native(vgg):
    return LossNet(vgg, None)


@pytest.fixture(scope="module")
def vectors():
    with np.load(REFERENCE / "m2snet_losses.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def ovenet():
    """The reference vectors of OVeNet's losses, as tensors."""
    path = REFERENCE / "ovenet_losses.npz"
    if not path.is_file():
        pytest.skip("reference vectors are not here")
    with np.load(path) as file:
        return {k: torch.from_numpy(np.asarray(v)) for k, v in file.items()}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def ignoring(regions, shape, batch=2):
    """Logits, a target that ignores the first five columns, and the same with something else written under them."""
    z = torch.randn(batch, 3, *shape)
    ignored = torch.zeros(batch, 1, *shape, dtype=torch.bool)
    ignored[..., :5] = True
    if not regions:
        target = torch.where(ignored, 3, torch.randint(0, 3, ignored.shape))
        return z, target, target
    masks = torch.rand(batch, 3, *shape) > 0.5
    return z, torch.cat([masks, ignored], 1), torch.cat([masks ^ ignored, ignored], 1)


def agree(ours, reference, rtol=1e-5):
    """Relative to the largest of the reference, as its tolerances are."""
    return bool((ours.detach() - reference).abs().max() <= rtol * reference.abs().max())


def leaf(values):
    """A copy that collects gradients."""
    return values.clone().requires_grad_()


class Waits(TorchDispatchMode):
    """Collects what would have a GPU's values fetched or counted before the next operation can start."""

    OPERATIONS = ("_local_scalar_dense", "nonzero", "masked_select")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in self.OPERATIONS or by_mask:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))
