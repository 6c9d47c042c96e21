"""Names that users type."""

import subprocess
import sys
from dataclasses import replace

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from support import ROOT, pickled

from nnunet_ext.trainers import method_losses, naming, presets, suffixes
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.naming import TrainerNameError, parse, resolve


def test_the_table_lists_exactly_the_presets():
    classes = {n for n, c in vars(presets).items() if n.startswith("nnUNetTrainer") and c is not nnUNetTrainerExt}
    assert set(naming.PRESETS) == classes
    assert all(vars(presets)[n].__doc__ for n in classes)


def test_every_part_can_be_built():
    for part in naming.PARTS:
        assert part.slot in naming.SLOTS
        assert resolve(f"{naming.COMPOSITION}_{part.name}").spec is not None


def test_no_name_holds_a_double_underscore():
    assert not any("__" in n for n in [*naming.PRESETS, *(p.name for p in naming.PARTS)])


def test_suffixes_are_read():
    parsed = parse("nnUNetTrainerSLUNet_5L1Res_20epochs_50iters_paper")
    assert (parsed.base, parsed.epochs, parsed.iters, parsed.paper) == ("nnUNetTrainerSLUNet_5L1Res", 20, 50, True)
    assert parse("nnUNetTrainerSLUNet_5L1Res").base == "nnUNetTrainerSLUNet_5L1Res"


def test_options_are_read_in_their_order():
    parsed = parse("nnUNetTrainerM2SNet_Res2Net50_StructureLoss_noLossNet_scratch_20epochs")
    assert parsed.base == "nnUNetTrainerM2SNet_Res2Net50"
    assert parsed.options == ("StructureLoss", "noLossNet", "scratch")
    assert set(suffixes.OPTIONS) == {"StructureLoss", "LossNet", "noLossNet", "scratch"}


def test_each_loss_can_be_had_and_left_out():
    plain, without, both, other = (
        resolve(f"nnUNetTrainer{n}").recipe
        for n in ("M2SNet", "M2SNet_noLossNet", "M2SNet_StructureLoss", "_StructureLoss_LossNet")
    )
    assert (plain.loss, plain.added_loss) == (None, method_losses.lossnet)
    assert (without.loss, without.added_loss) == (None, None)
    assert (both.loss, both.added_loss) == (other.loss, other.added_loss)
    assert (other.loss, other.added_loss) == (method_losses.structure_loss, method_losses.lossnet)
    assert resolve("nnUNetTrainer_LossNet").spec is None
    assert resolve("nnUNetTrainerM2SNet_noLossNet_paper").recipe == replace(
        resolve("nnUNetTrainerM2SNet_paper").recipe, added_loss=None
    )


def test_paper_recipe_and_budget_combine():
    trainer = resolve("nnUNetTrainerSLUNet_5L1Res_2epochs_10iters_paper")
    assert trainer.recipe.initial_lr == 1e-3
    assert (trainer.recipe.num_epochs, trainer.recipe.num_iterations_per_epoch) == (2, 10)
    assert resolve("nnUNetTrainerSLUNet_5L1Res_paper").recipe.num_epochs == 40


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nnUNetTrainerSLUNett", "Did you mean nnUNetTrainerSLUNet?"),
        ("nnUNetTrainerSLUNett_5epochs", "Did you mean nnUNetTrainerSLUNet_5epochs?"),
        ("nnunettrainerslunet_5l1res", "Did you mean nnUNetTrainerSLUNet_5L1Res?"),
        ("SLUNet_5L2Res", "Did you mean nnUNetTrainerSLUNet_5L2Res?"),
        ("nnUNetTrainerSomethingElse", "Trainers: nnUNetTrainerSLUNet, "),
        ("nnUNetTrainerSLUNet_0epochs", "_<N>epochs is allowed once, with N of at least 1; got _0epochs"),
        ("nnUNetTrainerSLUNet_2epochs_3epochs", "got _2epochs, _3epochs"),
        ("nnUNetTrainerSLUNet_0iters", "got _0iters"),
        ("nnUNetTrainerSLUNet_50iters_20epochs", "Type: -tr nnUNetTrainerSLUNet_20epochs_50iters"),
        ("nnUNetTrainerSLUNet_paper_20epochs", "Type: -tr nnUNetTrainerSLUNet_20epochs_paper"),
        ("nnUNetTrainerSLUNet_20epochs_5L1Res", "Type: -tr nnUNetTrainerSLUNet_5L1Res_20epochs"),
        ("nnUNetTrainerSLUNet_1epoch", "Type: -tr nnUNetTrainerSLUNet_1epochs"),
        ("nnUNetTrainerSLUNet_020epochs", "Type: -tr nnUNetTrainerSLUNet_20epochs"),
        ("nnUNetTrainerExt_Plane_UNet", "there is no part 'Plane'. Did you mean Plain?"),
        ("nnUNetTrainerExt_UNet_Plain", "the part Plain (encoder) is out of order or doubled"),
        ("nnUNetTrainerExt_Plain_Plain", "the part Plain (encoder) is out of order or doubled"),
        ("nnUNetTrainerExt_", "there is no part ''"),
        ("nnUNetTrainerExt_3epochs", "Name its parts, e.g. nnUNetTrainerExt_Plain_IFECurvature_3epochs"),
        ("nnUNetTrainerSLUNet_2iter", "end in s. Type: -tr nnUNetTrainerSLUNet_2iters"),
        ("nnUNetTrainerExt_Plain_UNet_paper", "Type: -tr nnUNetTrainerExt_Plain_UNet"),
        ("nnUNetTrainer", "There is no trainer nnUNetTrainer."),
        (
            "nnUNetTrainerM2SNet_LossNet",
            "adds LossNet already, so _LossNet means nothing here. Type: -tr nnUNetTrainerM2SNet",
        ),
        ("nnUNetTrainerM2SNet_LossNet_noLossNet", "contradict each other"),
        (
            "nnUNetTrainerSLUNet_noLossNet_3epochs",
            "adds no LossNet, so _noLossNet means nothing here. Type: -tr nnUNetTrainerSLUNet_3epochs",
        ),
        ("nnUNetTrainerM2SNet_3epochs_noLossNet", "Type: -tr nnUNetTrainerM2SNet_noLossNet_3epochs"),
        ("nnUNetTrainerM2SNet_StructureLoss_StructureLoss", "each once"),
        ("nnUNetTrainerM2SNet_StructureLoss_paper", "M2SNet with _paper is trained with the structure loss already"),
        ("nnUNetTrainerM2SNet_scratch", "has no pretrained weights, so _scratch means nothing"),
        ("nnUNetTrainerM2SNet_nolossnet", "Did you mean nnUNetTrainerM2SNet_noLossNet?"),
        ("nnUNetTrainer_NoLossNet_3epochs", "Did you mean nnUNetTrainer_noLossNet_3epochs?"),
        ("nnUNetTrainerM2SNet_structurloss", "Did you mean nnUNetTrainerM2SNet_StructureLoss?"),
    ],
)
def test_wrong_names_are_told_what_to_type(name, message):
    with pytest.raises(TrainerNameError) as error:
        resolve(name)
    assert message in str(error.value)


def test_suggested_names_resolve():
    for name in ("nnUNetTrainerSLUNet_50iters_20epochs", "nnUNetTrainerSLUNet_paper_20epochs"):
        with pytest.raises(TrainerNameError) as error:
            resolve(name)
        assert issubclass(resolve(str(error.value).split("-tr ")[1]), nnUNetTrainer)


def test_the_module_behaves_like_a_module():
    assert not hasattr(naming, "__wrapped__")
    assert not hasattr(naming, "nnUNetTrainerNoSuchThing")
    assert naming.nnUNetTrainerSLUNet is presets.nnUNetTrainerSLUNet


def test_classes_unpickle_in_a_fresh_process():
    import pickle

    name = "nnUNetTrainerExt_Plain_UNet_3epochs"
    data = pickle.dumps(resolve(name))
    code = f"import pickle; print(pickle.loads({data!r}).__name__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith(name)
    assert pickled(resolve(name)) is resolve(name)


def test_listing_names_imports_nothing_heavy():
    code = "import sys; from nnunet_ext.trainers import naming; print(sorted({'torch', 'nnunetv2'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------- as nnU-Net finds them


@pytest.fixture
def find(monkeypatch):
    """nnU-Net's own look-up, with the plug-in folder set."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    monkeypatch.setenv("nnUNet_extTrainer", str(ROOT / "nnunet_ext" / "_nnunet_plugin"))
    return recursive_find_trainer_class_by_name


@pytest.mark.parametrize(
    "name", ["nnUNetTrainerSLUNet_5L1Res", "nnUNetTrainerSLUNet_4epochs", "nnUNetTrainerExt_Plain_UNet",
             "nnUNetTrainer_7epochs_11iters"],
)  # fmt: skip
def test_nnunet_finds_the_same_class_each_time(find, name):
    found = find(name)
    assert found is find(name) is resolve(name) is pickled(found)


def test_nnunet_shows_our_message_for_a_wrong_name(find):
    with pytest.raises(ValueError, match="Did you mean nnUNetTrainerSLUNet_5L1Res"):
        find("nnUNetTrainerSLUNet_5L1Ress")


def test_foreign_trainers_are_left_to_the_folder_that_follows(find, tmp_path, monkeypatch):
    base = "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
    (tmp_path / "foreign.py").write_text(base + "class nnUNetTrainerForeign(nnUNetTrainer):\n    pass\n")
    ours = str(ROOT / "nnunet_ext" / "_nnunet_plugin")
    monkeypatch.setenv("nnUNet_extTrainer", f"{ours}:{tmp_path}")
    assert find("nnUNetTrainerForeign").__name__ == "nnUNetTrainerForeign"
    with pytest.raises(ValueError, match="Did you mean nnUNetTrainerSLUNet"):
        find("nnUNetTrainerSLUNet_9L")


def test_our_names_do_not_hide_behind_nnunets_own(find):
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = f"{nnunetv2.__path__[0]}/training/nnUNetTrainer"
    for name in naming.PRESETS:
        assert recursive_find_python_class(folder, name, "nnunetv2.training.nnUNetTrainer") is None
