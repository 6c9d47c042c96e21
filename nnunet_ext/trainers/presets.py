"""The published methods as trainers, a few lines each. `naming.PRESETS` lists them with one line each."""

from __future__ import annotations

from dataclasses import replace

from nnunet_ext.architectures.decoders.multiscale_subtraction import M2SNET_DECODER, MSNET_DECODER
from nnunet_ext.architectures.encoders.enhancement import Enhancement
from nnunet_ext.architectures.heads.offset_branch import OffsetVectorHead
from nnunet_ext.architectures.network import ComposedSpec
from nnunet_ext.architectures.published.deeplabv3plus import DeepLabV3PlusSpec
from nnunet_ext.architectures.published.hrnet import HRNetSpec
from nnunet_ext.architectures.published.msnet import MSNetSpec
from nnunet_ext.architectures.published.ovenet_hrnet import OVeNetHRNetSpec
from nnunet_ext.architectures.published.sinetv2 import SINetV2Spec
from nnunet_ext.architectures.published.slunet import MonaiUNetSpec, SLUNetSpec
from nnunet_ext.architectures.published.two_stage_unet import TwoStageUNetSpec
from nnunet_ext.architectures.published.unet import UNetSpec
from nnunet_ext.cascade.hosted import TwoStageNetSpec
from nnunet_ext.trainers import ife, m2snet, ovenet, spatial_lifting
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.hrnet import FrozenTrainer, HRNetTrainer, OVeNetHRNetTrainer
from nnunet_ext.trainers.offset_vectors import OffsetVectorTrainer
from nnunet_ext.trainers.pretrained import PretrainedEncoderTrainer
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.sinetv2 import SINetV2Trainer
from nnunet_ext.trainers.spatial_lifting import SpatialLiftingTrainer
from nnunet_ext.trainers.two_stage_net import TwoStageNetTrainer, TwoStageUNetTrainer

# --- Spatial Lifting (docs/methods/spatial_lifting.md) ---------------------------------------------------------------


class nnUNetTrainerSLUNet_5L1Res(SpatialLiftingTrainer):
    """SL-UNet, 5 levels, 1 residual convolution a unit; 29,537 parameters for one output."""

    spec = SLUNetSpec(levels=5, res_units=1)


class nnUNetTrainerSLUNet_5L2Res(SpatialLiftingTrainer):
    """SL-UNet, 5 levels, 2 residual convolutions a unit; 38,222 parameters for one output."""

    spec = SLUNetSpec(levels=5, res_units=2)


class nnUNetTrainerSLUNet_8L1Res(SpatialLiftingTrainer):
    """SL-UNet, 8 levels, 1 residual convolution a unit; 37,130 parameters for one output."""

    spec = SLUNetSpec(levels=8, res_units=1)


class nnUNetTrainerSLUNet_8L2Res(SpatialLiftingTrainer):
    """SL-UNet, 8 levels, 2 residual convolutions a unit; 46,418 parameters for one output."""

    spec = SLUNetSpec(levels=8, res_units=2)


class nnUNetTrainerSLUNet(nnUNetTrainerSLUNet_8L2Res):
    """SL-UNet in the paper's largest configuration, 8L2Res. Results stand in a folder of this name."""


class nnUNetTrainerMonaiUNet_5L1Res(nnUNetTrainerExt):
    """The 2D UNet that SL-UNet 5L1Res is compared with; 3,352,215 parameters for one output."""

    spec = MonaiUNetSpec(levels=5, res_units=1)
    paper_recipe = spatial_lifting.PAPER_RECIPE


class nnUNetTrainerMonaiUNet_5L2Res(nnUNetTrainerExt):
    """The 2D UNet that SL-UNet 5L2Res is compared with; 6,495,868 parameters for one output."""

    spec = MonaiUNetSpec(levels=5, res_units=2)
    paper_recipe = spatial_lifting.PAPER_RECIPE


class nnUNetTrainerMonaiUNet_8L1Res(nnUNetTrainerExt):
    """The 2D UNet that SL-UNet 8L1Res is compared with; 33,012,384 parameters for one output."""

    spec = MonaiUNetSpec(levels=8, res_units=1)
    paper_recipe = spatial_lifting.PAPER_RECIPE


class nnUNetTrainerMonaiUNet_8L2Res(nnUNetTrainerExt):
    """The 2D UNet that SL-UNet 8L2Res is compared with; 43,235,464 parameters for one output."""

    spec = MonaiUNetSpec(levels=8, res_units=2)
    paper_recipe = spatial_lifting.PAPER_RECIPE


# --- M2SNet and MSNet (docs/methods/m2snet.md) -----------------------------------------------------------------------


class nnUNetTrainerMSNet(nnUNetTrainerExt):
    """MSNet's subtraction decoder on the plan's encoder; Dice + cross-entropy + 0.1 x LossNet."""

    spec = ComposedSpec(decoder=MSNET_DECODER)
    recipe = m2snet.RECIPE
    paper_recipe = m2snet.PAPER_RECIPE


class nnUNetTrainerM2SNet(nnUNetTrainerExt):
    """M2SNet's multi-scale subtraction decoder on the plan's encoder; Dice + cross-entropy + 0.1 x LossNet."""

    spec = ComposedSpec(decoder=M2SNET_DECODER)
    recipe = m2snet.RECIPE
    paper_recipe = m2snet.PAPER_RECIPE


class nnUNetTrainerMSNet_Res2Net50(PretrainedEncoderTrainer):
    """MSNet as published, on a pretrained Res2Net-50; 27,692,329 parameters for one output."""

    spec = MSNetSpec(scales=(1,))
    recipe = m2snet.RECIPE
    paper_recipe = m2snet.PAPER_RECIPE_PRETRAINED


class nnUNetTrainerM2SNet_Res2Net50(PretrainedEncoderTrainer):
    """M2SNet as published, on a pretrained Res2Net-50; 27,692,329 parameters for one output."""

    spec = MSNetSpec()
    recipe = m2snet.RECIPE
    paper_recipe = m2snet.PAPER_RECIPE_PRETRAINED


class nnUNetTrainerM2SNet_Res2Net50_DenseFilter(PretrainedEncoderTrainer):
    """M2SNet with its code's filters, for the authors' checkpoints; 27,692,585 parameters for one output."""

    spec = MSNetSpec(filter="dense")
    recipe = m2snet.RECIPE
    paper_recipe = m2snet.PAPER_RECIPE_PRETRAINED


# --- OVeNet (docs/methods/ovenet.md) ---------------------------------------------------------------------------------


class nnUNetTrainerOVeNet(OffsetVectorTrainer):
    """OVeNet's offset vectors, in a small branch of their own, on the plan's network."""

    spec = ComposedSpec(head=OffsetVectorHead())
    paper_recipe = ovenet.PAPER_RECIPE


class nnUNetTrainerHRNetW48(HRNetTrainer):
    """HRNetV2-W48, the base of OVeNet, pretrained; 65,846,401 parameters for one output."""

    spec = HRNetSpec()


class nnUNetTrainerOVeNet_HRNetW48(OVeNetHRNetTrainer):
    """OVeNet as published, on a pretrained HRNetV2-W48."""

    spec = OVeNetHRNetSpec(in_voxels=True)


class nnUNetTrainerOVeNet_HRNetW48_Frozen(FrozenTrainer):
    """OVeNet's offset branch alone, on a finished HRNetV2-W48 (`-pretrained_weights`)."""

    spec = OVeNetHRNetSpec(frozen=True, in_voxels=True)


class nnUNetTrainerHRNetW48OCR(HRNetTrainer):
    """HRNetV2-W48 with object-contextual representations, pretrained."""

    spec = HRNetSpec(ocr=True)


class nnUNetTrainerOVeNet_HRNetW48OCR(OVeNetHRNetTrainer):
    """OVeNet as published, on a pretrained HRNetV2-W48 with object-contextual representations."""

    spec = OVeNetHRNetSpec(ocr=True, in_voxels=True)


class nnUNetTrainerLossScaled(nnUNetTrainerExt):
    """nnU-Net with its loss times 2: the control for what OVeNet's three terms do to the learning rate."""

    recipe = Recipe(loss_factor=2.0)
    paper_recipe = replace(ovenet.BASELINE_RECIPE, loss_factor=2.0)


# --- IFE (docs/methods/ife.md) ---------------------------------------------------------------------------------------


class nnUNetTrainerIFECurvature(nnUNetTrainerExt):
    """IFE on the plan's network: the channels of most curvature given twice to the decoder."""

    spec = ComposedSpec(enhancement=Enhancement("curvature"))
    paper_recipe = ife.PAPER_RECIPE


class nnUNetTrainerIFEEntropy(nnUNetTrainerExt):
    """IFE on the plan's network: the channels of most entropy given twice to the decoder."""

    spec = ComposedSpec(enhancement=Enhancement("entropy"))
    paper_recipe = ife.PAPER_RECIPE


class nnUNetTrainerIFERandom(nnUNetTrainerExt):
    """IFE's control of equal width: as many channels as with curvature, drawn at random."""

    spec = ComposedSpec(enhancement=Enhancement("random"))
    paper_recipe = ife.PAPER_RECIPE


class nnUNetTrainerUNet(nnUNetTrainerExt):
    """IFE's U-Net; 31,043,521 parameters for one output."""

    spec = UNetSpec()
    paper_recipe = ife.PAPER_RECIPE


class nnUNetTrainerUNet_IFECurvature(nnUNetTrainerUNet):
    """IFE's U-Net with IFE: the channels of most curvature given twice."""

    spec = UNetSpec(score="curvature")


class nnUNetTrainerUNet_IFEEntropy(nnUNetTrainerUNet):
    """IFE's U-Net with IFE: the channels of most entropy given twice."""

    spec = UNetSpec(score="entropy")


class nnUNetTrainerUNet_IFERandom(nnUNetTrainerUNet):
    """IFE's U-Net with the control of IFE: as many channels as by curvature given twice, drawn at random."""

    spec = UNetSpec(score="random")


class nnUNetTrainerDeepLabV3Plus(PretrainedEncoderTrainer):
    """IFE's DeepLabV3+, on a pretrained ResNet-101; 59,339,169 parameters for one output."""

    spec = DeepLabV3PlusSpec()
    paper_recipe = ife.PAPER_RECIPE_64


class nnUNetTrainerDeepLabV3Plus_IFECurvature(nnUNetTrainerDeepLabV3Plus):
    """IFE's DeepLabV3+ with IFE: the channels of most curvature given twice."""

    spec = DeepLabV3PlusSpec(score="curvature")


class nnUNetTrainerDeepLabV3Plus_IFEEntropy(nnUNetTrainerDeepLabV3Plus):
    """IFE's DeepLabV3+ with IFE: the channels of most entropy given twice."""

    spec = DeepLabV3PlusSpec(score="entropy")


class nnUNetTrainerDeepLabV3Plus_IFERandom(nnUNetTrainerDeepLabV3Plus):
    """IFE's DeepLabV3+ with the control of IFE: as many channels as by curvature given twice, drawn at random."""

    spec = DeepLabV3PlusSpec(score="random")


class nnUNetTrainerSINetV2(SINetV2Trainer):
    """IFE's SINetV2, on a pretrained Res2Net-50; 24,926,642 parameters for one output."""

    spec = SINetV2Spec()


class nnUNetTrainerSINetV2_IFECurvature(nnUNetTrainerSINetV2):
    """IFE's SINetV2 with IFE: the channels of most curvature given twice."""

    spec = SINetV2Spec(score="curvature")


class nnUNetTrainerSINetV2_IFEEntropy(nnUNetTrainerSINetV2):
    """IFE's SINetV2 with IFE: the channels of most entropy given twice."""

    spec = SINetV2Spec(score="entropy")


class nnUNetTrainerSINetV2_IFERandom(nnUNetTrainerSINetV2):
    """IFE's SINetV2 with the control of IFE: as many channels as by curvature given twice, drawn at random."""

    spec = SINetV2Spec(score="random")


# --- Two stages (docs/methods/two_stage.md) --------------------------------------------------------------------------


class nnUNetTrainerTwoStage(nnUNetTrainerExt):
    """nnU-Net's own network and training; a configuration `2d_selective` of the plans makes it the second stage."""


class nnUNetTrainerTwoStageNet_Np2(TwoStageNetTrainer):
    """Both stages as one network; of 2 x 2 cells, 2 are refined. 37,684,482 parameters for one output."""

    spec = TwoStageNetSpec(grid=2)


class nnUNetTrainerTwoStageNet_Np4(TwoStageNetTrainer):
    """Both stages as one network; of 4 x 4 cells, 4 are refined. 37,684,482 parameters for one output."""

    spec = TwoStageNetSpec(grid=4)


class nnUNetTrainerTwoStageNet_Np8(TwoStageNetTrainer):
    """Both stages as one network; of 8 x 8 cells, 8 are refined. 37,684,482 parameters for one output."""

    spec = TwoStageNetSpec(grid=8)


class nnUNetTrainerTwoStageNet_Np16(TwoStageNetTrainer):
    """Both stages as one network; of 16 x 16 cells, 16 are refined. 37,684,482 parameters for one output."""

    spec = TwoStageNetSpec(grid=16)


class nnUNetTrainerTwoStageNet(nnUNetTrainerTwoStageNet_Np4):
    """Both stages as one network, Np = 4: a quarter is refined. Results stand in a folder of this name."""


class nnUNetTrainerTwoStageUNet(TwoStageUNetTrainer):
    """The two-stage paper's U-Net on whole patches, its baseline; 18,842,241 parameters for one output."""

    spec = TwoStageUNetSpec()
