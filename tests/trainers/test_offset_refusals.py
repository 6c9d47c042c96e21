"""What trainers of offset vectors refuse, before nnU-Net makes a folder."""

import pytest
from support import make_dataset_json, make_plans
from trainers.conftest import construct

from nnunet_ext.architectures.heads.offset_branch import OffsetVectorHead
from nnunet_ext.architectures.network import ComposedSpec
from nnunet_ext.architectures.topology import UnsupportedPlanError
from nnunet_ext.trainers import naming
from nnunet_ext.trainers.naming import TrainerNameError, resolve


@pytest.fixture
def refused(nnunet_folders):
    """Returns `refused(name, labels, **plan)`: the error's text, after checking that nothing was written."""

    def message(name, labels=None, error=ValueError, patch_size=(32, 32), **plan):
        with pytest.raises(error) as caught:
            construct(name, make_plans(list(patch_size), **plan), make_dataset_json(labels))
        assert not list((nnunet_folders / "nnUNet_results").iterdir())
        return str(caught.value)

    return message


@pytest.mark.parametrize("labels", [{"background": 0}, {"background": 0, "ignore": 1}])
@pytest.mark.parametrize(
    "name", ["nnUNetTrainerOVeNet", "nnUNetTrainerOVeNet_paper", "nnUNetTrainerExt_OVe_SL8", "nnUNetTrainerExt_OVe"]
)
def test_a_single_class_has_nothing_to_choose_between(refused, name, labels):
    text = refused(name, labels)
    assert text.startswith(f"{name} chooses between classes")
    assert f'{labels}, which is one class. Add the label of a structure to "labels".' in text


def test_a_single_region_is_inside_or_not(make_trainer, monkeypatch):
    dataset = make_dataset_json({"background": 0, "whole": [1, 2]})
    trainer = construct("nnUNetTrainerOVeNet", make_plans([32, 32]), dataset)
    assert trainer.label_manager.num_segmentation_heads == 1


@pytest.mark.parametrize(
    "name",
    ["nnUNetTrainerHRNetW48", "nnUNetTrainerOVeNet_HRNetW48", "nnUNetTrainerOVeNet_HRNetW48_Frozen",
     "nnUNetTrainerHRNetW48OCR", "nnUNetTrainerOVeNet_HRNetW48OCR_scratch_paper"],
)  # fmt: skip
def test_hrnet_needs_more_than_32_pixels_and_an_image(refused, name):
    text = refused(name, error=UnsupportedPlanError, patch_size=(32, 96))
    assert f"{name} cannot be built for configuration '2d'" in text
    assert 'Set "patch_size": [64, 96] or more' in text
    text = refused(name, error=UnsupportedPlanError, patch_size=(16, 64, 64))
    assert "the network is 2D only. Use the configuration 2d" in text


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("OVe300", "the part OVe300: tau=3.0 is not possible: write 1 to 200, in hundredths"),
        ("OVeShared201", "the part OVeShared201: tau=2.01 is not possible"),
        ("OVe0", "the part OVe0: tau=0.0 is not possible"),
        ("OVeDecoder0mm", "the part OVeDecoder0mm: a largest offset of 0 mm is not possible: write 1mm or more"),
    ],
)
def test_reaches_that_no_patch_holds_are_no_names(refused, word, told):
    name = f"nnUNetTrainerExt_{word}"
    assert refused(name, error=TrainerNameError).startswith(f"{name}: {told}")


def test_millimetres_are_checked_against_the_patch(refused, make_trainer):
    text = refused("nnUNetTrainerExt_OVe500mm", error=UnsupportedPlanError, patch_size=(32, 48))
    assert text.startswith("nnUNetTrainerExt_OVe500mm cannot be built for configuration '2d': tau_mm=500")
    assert "31 mm at its shortest side. Choose above 0, up to 31." in text
    make_trainer("nnUNetTrainerExt_OVe31mm", patch_size=[32, 48])
    make_trainer("nnUNetTrainerExt_OVe200", patch_size=[32, 48])


@pytest.mark.parametrize("word", ["OVE", "OVe-5", "OVeLight", "OVe5cm", "OVemm", "OVe20Shared", "OVeShared_5mm", "Ove"])
def test_wrong_parts_are_given_the_list(word):
    with pytest.raises(TrainerNameError) as error:
        resolve(f"nnUNetTrainerExt_{word}")
    assert "there is no part" in str(error.value)
    assert all(part.name in str(error.value) for part in naming.PARTS)
    assert "OVeDecoder, OVeShared: where they branch off" in str(error.value)


@pytest.mark.parametrize("name", ["nnUNetTrainerExt_OVe_M2S", "nnUNetTrainerExt_SL8_OVe", "nnUNetTrainerExt_OVe_OVe20"])
def test_the_heads_place_is_between_decoder_and_lifting(name):
    with pytest.raises(TrainerNameError, match=r"out of order or doubled\. The order is encoder, enhancement, decoder"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nnUNetTrainerOveNet", "Did you mean nnUNetTrainerOVeNet?"),
        ("nnUNetTrainerOVeNet_HRNetW48_frozen", "Did you mean nnUNetTrainerOVeNet_HRNetW48_Frozen?"),
        ("nnUNetTrainerOVeNet_HRNet_W48_paper", "Did you mean nnUNetTrainerOVeNet_HRNetW48_paper?"),
        ("nnUNetTrainerOVeNet_scratch", "has no pretrained weights, so _scratch means nothing"),
        ("nnUNetTrainerExt_OVe_paper", "Type: -tr nnUNetTrainerExt_OVe"),
    ],
)
def test_names_that_are_near(name, told):
    with pytest.raises(TrainerNameError) as error:
        resolve(name)
    assert told in str(error.value)


@pytest.mark.parametrize(("kind", "fuse"), [("labels", "sigmoid"), ("regions", "softmax")])
def test_probabilities_that_the_dataset_has_not_are_refused(make_trainer, monkeypatch, kind, fuse):
    spec = ComposedSpec(head=OffsetVectorHead(fuse=fuse))
    monkeypatch.setattr(resolve("nnUNetTrainerOVeNet"), "spec", spec)
    right = "softmax" if kind == "labels" else "sigmoid"
    with pytest.raises(ValueError, match=f'fuse="{fuse}", but the dataset has {kind}. Set fuse="{right}"'):
        make_trainer("nnUNetTrainerOVeNet", kind)


def test_tau_of_one_half_has_one_name():
    with pytest.raises(TrainerNameError, match="leave the 50 out"):
        resolve("nnUNetTrainerExt_OVe50")
    with pytest.raises(TrainerNameError, match="there is no part 'OVe020'"):
        resolve("nnUNetTrainerExt_OVe020")
