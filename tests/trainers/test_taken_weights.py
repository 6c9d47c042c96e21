"""`-pretrained_weights`: nnU-Net's own loader on networks with heads that the file does not have."""

import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

from nnunet_ext.trainers.naming import resolve


def checkpoint(trainer, path):
    torch.save({"network_weights": trainer.network.state_dict()}, path)
    return str(path)


@pytest.mark.parametrize("name", ["nnUNetTrainerOVeNet", "nnUNetTrainerExt_Plain_OVeDecoder"])
@pytest.mark.parametrize("base", ["nnUNetTrainer_1epochs", "nnUNetTrainerExt_Plain_UNet"])
def test_offset_vectors_begin_at_the_shared_part_of_a_network_without(make_trainer, tmp_path, capsys, name, base):
    trained, trainer = make_trainer(base), make_trainer(name)
    trained.initialize()
    trainer.initialize()
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    load_pretrained_weights(trainer.network, checkpoint(trained, tmp_path / "base.pth"), verbose=False)
    given, now = trained.network.state_dict(), trainer.network.state_dict()
    for k, v in now.items():
        mine = ".seg_layers." in k
        assert torch.equal(v, before[k] if mine else given[k]), k
    said = capsys.readouterr().out
    assert "not taken, as initialised: head.seg_layers (4 tensors), offset_branch.seg_layers (" in said
    assert trainer._taken
    assert not any(".seg_layers." in k for k in trainer._taken)


def test_a_whole_checkpoint_is_loaded_without_a_word(make_trainer, capsys):
    trainer = make_trainer("nnUNetTrainerOVeNet")
    trainer.initialize()
    state = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.network.load_state_dict(state)
    assert "not taken" not in capsys.readouterr().out
    assert sorted(trainer._taken) == sorted(state)


def test_networks_can_be_copied_with_their_listeners(make_trainer):
    import copy

    trainer = make_trainer("nnUNetTrainerOVeNet")
    trainer.initialize()
    assert copy.deepcopy(trainer.network).state_dict().keys() == trainer.network.state_dict().keys()
    assert resolve("nnUNetTrainerOVeNet") is type(trainer)
