"""`nnunet_ext import-weights`: from a published checkpoint to what nnU-Net's -pretrained_weights takes."""

from dataclasses import replace

import pytest
import torch
from architectures.test_msnet_weights import TINY, theirs
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

from nnunet_ext import cli
from nnunet_ext.trainers import presets

DENSE = "nnUNetTrainerM2SNet_Res2Net50_DenseFilter"


@pytest.fixture
def small(monkeypatch):
    """The trainers on a tiny backbone."""
    for name in ("nnUNetTrainerMSNet_Res2Net50", "nnUNetTrainerM2SNet_Res2Net50", DENSE):
        cls = getattr(presets, name)
        monkeypatch.setattr(cls, "spec", replace(cls.spec, backbone=TINY))


@pytest.mark.parametrize(("filters", "trainer"), [(False, "nnUNetTrainerMSNet_Res2Net50"), (True, DENSE)])
def test_the_written_file_begins_a_training_with_the_authors_network(small, tmp_path, capsys, filters, trainer):
    network = theirs(filters)
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "model-50.pth")
    out = tmp_path / "new" / "weights.pth"
    assert cli.main(["import-weights", "-i", str(tmp_path / "model-50.pth"), "-tr", trainer, "-o", str(out)]) == 0
    assert f"-tr {trainer}_scratch -pretrained_weights {out}" in capsys.readouterr().out
    assert [p.name for p in out.parent.iterdir()] == ["weights.pth"]
    ours = getattr(presets, trainer).spec.build(None, 3, 1, False)
    load_pretrained_weights(ours, out)  # as nnUNetv2_train does; it never takes the last convolution
    ours.head.seg_layers[0].load_state_dict(network.output1[0].state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours.eval()(x), network.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("filters", "trainer", "said"),
    [
        (True, "nnUNetTrainerM2SNet_Res2Net50", f"Type: -tr {DENSE}"),
        (False, DENSE, "Type: -tr nnUNetTrainerMSNet_Res2Net50"),
        (False, "nnUNetTrainerM2SNet", f"Choose of: {DENSE} (M2SNet), nnUNetTrainerMSNet_Res2Net50"),
        (False, "nnUNetTrainerM2SNett", "Did you mean nnUNetTrainerM2SNet?"),
    ],
)
def test_another_reading_or_network_is_refused_in_a_line(small, tmp_path, capsys, filters, trainer, said):
    torch.save(theirs(filters).state_dict(), tmp_path / "in.pth")
    out = tmp_path / "out.pth"
    assert cli.main(["import-weights", "-i", str(tmp_path / "in.pth"), "-tr", trainer, "-o", str(out)]) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_what_exists_or_cannot_be_read_is_left_alone(small, tmp_path, capsys):
    out = tmp_path / "out.pth"
    out.write_text("mine")
    (tmp_path / "in.pth").write_text("no weights")
    call = ["import-weights", "-i", str(tmp_path / "in.pth"), "-tr", DENSE, "-o"]
    assert cli.main([*call, str(out)]) == 1
    assert "exists. Choose another name" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert cli.main([*call, str(tmp_path / "other.pth")]) == 1
    assert "in.pth cannot be read as weights" in capsys.readouterr().err
