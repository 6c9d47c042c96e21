import importlib.util

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from nnunet_ext.architectures.lifting.slice_selection import SliceSelection
from nnunet_ext.inference import onnx_file
from nnunet_ext.inference.onnx_file import OnnxError, check_opset, compare, require_onnx, write_onnx

SIZE = (3, 8, 6)


class Plus(nn.Module):
    """A convolution, plus something."""

    def __init__(self, something=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        self.something = something

    def forward(self, x):
        return self.conv(x) + self.something


class Fused(Plus):
    """Eight slices that differ a little, and far from a tie between the classes."""

    def __init__(self, selected):
        super().__init__()
        self.selection = SliceSelection(8, 2)
        self.selection.selected.copy_(torch.tensor(selected))

    def forward(self, x):
        slices = torch.stack(
            [super(Fused, self).forward(x) * torch.tensor([1, 1 + 0.004 * d])[:, None, None] for d in range(8)], 2
        )
        return self.selection(slices + torch.tensor([75.0, 0.0])[:, None, None, None])


class AsksForTheBatchSize(Plus):
    def forward(self, x):
        return super().forward(x.expand(2, -1, -1, -1))[:1] if len(x) == 1 else super().forward(x)


class NeverTheSame(Plus):
    def forward(self, x):
        return super().forward(x) + torch.rand_like(x[:, :2])


class AsksForAValue(Plus):
    def forward(self, x):
        return super().forward(x) if x.mean() > 100 else -super().forward(x)


@pytest.mark.parametrize("kind", [Plus, AsksForTheBatchSize])
def test_the_file_gives_the_networks_logits_for_any_batch(tmp_path, kind):
    network = kind().eval()
    written = write_onnx(network, SIZE, tmp_path / "new" / "model.onnx")
    assert written.found.difference < 1e-5
    assert written.found.excess < 0.01
    assert written.found.other_labels == 0
    session = onnxruntime.InferenceSession(str(written.path))
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", ["batch", 3, 8, 6])
    assert (logits.name, logits.shape) == ("logits", ["batch", 2, 8, 6])
    x = torch.randn(5, *SIZE)
    (found,) = session.run(None, {"image": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(x), atol=1e-5, rtol=0)
    assert [p.name for p in written.path.parent.iterdir()] == ["model.onnx"]


def test_a_file_that_differs_gets_no_name_and_replaces_nothing(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("earlier")
    with pytest.raises(
        OnnxError, match=r"model\.onnx was not written: its logits z would differ .* by 0\.\d+, up to \d"
    ):
        write_onnx(NeverTheSame().eval(), SIZE, path)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_the_difference_is_measured(tmp_path):
    written = write_onnx(Plus().eval(), SIZE, tmp_path / "model.onnx")
    found = compare(Plus(0.25).eval(), written.path, SIZE)
    assert found.difference == pytest.approx(0.25, abs=1e-5)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        seen = torch.cat([Plus(0.25)(torch.randn(n, *SIZE, generator=generator)) for n in (1, 2)])
    assert found.excess == pytest.approx(float((0.25 / (1e-3 + 1e-4 * seen.abs())).max()), rel=1e-3)
    assert found.other_labels == 0  # both outputs are shifted
    regions = compare(Plus(0.25).eval(), written.path, SIZE, sigmoid=True)
    assert regions.other_labels == pytest.approx(float(((seen > 0) != (seen > 0.25)).any(1).float().mean()))


def test_slices_that_were_not_selected_are_noticed_beside_large_logits(tmp_path, monkeypatch):
    """Fused logits of a lifted network reach 87: what the largest one may differ by, the others may not."""
    network = Fused([0, 1]).eval()
    with torch.no_grad():
        x = torch.randn(1, *SIZE)
        expected, wrong = network(x), Fused([6, 7])(x)
    assert expected.abs().max() > 70
    assert 0.01 < (expected - wrong).abs().max() < 1e-3 * expected.abs().max()
    traced = onnx_file._trace
    monkeypatch.setattr(onnx_file, "_trace", lambda _, size: traced(Fused([6, 7]).eval(), size))
    with pytest.raises(OnnxError, match=r"was not written: its logits z would differ"):
        write_onnx(network, SIZE, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_is_no_agreement(tmp_path):
    with pytest.raises(OnnxError, match="differ from PyTorch's by nan"):
        write_onnx(Plus(float("nan")).eval(), SIZE, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_fixed_batch_is_noticed(tmp_path):
    network, path = Plus().eval(), tmp_path / "fixed.onnx"
    torch.onnx.export(
        network, (torch.randn(2, *SIZE),), dynamo=True, verbose=False, input_names=["image"], output_names=["logits"]
    ).save(path)
    with pytest.raises(OnnxError, match="on a batch of 1"):
        compare(network, path, SIZE)


def test_what_cannot_be_traced_is_named(tmp_path):
    with pytest.raises(OnnxError, match="PyTorch cannot trace AsksForAValue: "):
        write_onnx(AsksForAValue().eval(), SIZE, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_opset_asked_for_is_written(tmp_path):
    written = write_onnx(Plus().eval(), SIZE, tmp_path / "model.onnx", opset=18)
    assert written.opset == 18
    assert [o.version for o in onnx.load(written.path).opset_import if o.domain == ""] == [18]


@pytest.mark.parametrize("opset", [9, 17, 99])
def test_other_opsets_are_refused_with_those_that_are_allowed(opset):
    with pytest.raises(OnnxError, match=rf"--opset {opset}: allowed are 18 to {onnx.defs.onnx_opset_version()}"):
        check_opset(opset)


def test_missing_packages_are_named_with_the_line_to_type(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda n: None if n == "onnxscript" else found(n))
    with pytest.raises(OnnxError, match=r'^onnxscript: not installed\. Type: pip install "nnunet-ext\[onnx\]"$'):
        require_onnx()
