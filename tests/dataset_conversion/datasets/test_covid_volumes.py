"""COVID-19 CT volumes as NIfTI, each axial slice a case."""

import nibabel
import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels

from nnunet_ext.dataset_conversion.pixels import Reading

SHAPE = (6, 5, 3)  # to the left, to the back, to the head
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(path, voxels, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(voxels.astype(dtype), LPS).to_filename(path)


def infection():
    voxels = np.zeros(SHAPE)
    voxels[4, 1, 2] = 1
    return voxels


def seg20(root):
    images = root / "COVID-19-CT-Seg_20cases"
    volume(images / "coronacases_001.nii.gz", np.full(SHAPE, -500))
    volume(images / "radiopaedia_10_85902_1.nii.gz", np.full(SHAPE, 127), np.uint8)
    for name in ("coronacases_001", "radiopaedia_10_85902_1"):
        volume(root / "Infection_Mask" / f"{name}.nii.gz", infection(), np.uint8)
        volume(root / "Lung_Mask" / f"{name}.nii.gz", 1 - infection(), np.uint8)
    return root


def test_slices_of_a_volume_are_one_group(tmp_path):
    cases = found("covid_seg20", seg20(tmp_path))
    names = [f"{volume}_{k:03d}" for volume in ("coronacases_001", "radiopaedia_10_85902_1") for k in range(3)]
    assert {n: c.group for n, c in cases.items()} == {name: name[:-4] for name in names}
    expected = np.zeros((5, 6))
    expected[1, 4] = 1
    np.testing.assert_array_equal(labels("covid_seg20", cases["coronacases_001_002"]), expected)
    assert not labels("covid_seg20", cases["coronacases_001_001"]).any()


def test_hounsfield_units_are_windowed_and_8_bits_kept(tmp_path):
    cases = found("covid_seg20", seg20(tmp_path))
    for name in ("coronacases_001_000", "radiopaedia_10_85902_1_000"):
        pixels = cases[name].image.read(Reading()).pixels
        assert (pixels.shape, pixels.dtype) == ((5, 6), np.uint8)
        assert set(pixels.ravel().tolist()) <= {127, 128}  # -500 is in the middle from -1250 to 250


def test_findings_of_medseg_are_classes(tmp_path):
    values = infection() * 2
    values[0, 0, 2] = 3
    volume(tmp_path / "tr_im.nii.gz", np.full(SHAPE, -1250.0), np.float32)
    volume(tmp_path / "tr_mask.nii.gz", values, np.float32)
    volume(tmp_path / "val_im.nii.gz", np.full(SHAPE, 250.0), np.float32)
    cases = found("covid_medseg", tmp_path)
    assert {n: (c.split, c.group, c.mask is None) for n, c in cases.items()} == {
        **{f"tr_{k:03d}": ("train", "", False) for k in range(3)},
        **{f"val_{k:03d}": ("test", "", True) for k in range(3)},
    }
    expected = np.zeros((5, 6))
    expected[1, 4], expected[0, 0] = 2, 3
    np.testing.assert_array_equal(labels("covid_medseg", cases["tr_002"]), expected)


def test_the_nine_volumes_of_medseg(tmp_path):
    volume(tmp_path / "rp_im/1.nii.gz", np.zeros(SHAPE))
    volume(tmp_path / "rp_msk/1.nii.gz", infection())
    volume(tmp_path / "rp_lung_msk/1.nii.gz", 1 - infection())
    cases = found("covid_medseg9", tmp_path)
    assert {n: c.group for n, c in cases.items()} == {f"1_{k:03d}": "1" for k in range(3)}
    assert labels("covid_medseg9", cases["1_002"]).sum() == 1


def test_missing_masks_are_named(tmp_path):
    (seg20(tmp_path) / "Infection_Mask/coronacases_001.nii.gz").unlink()
    (problem,) = complaints("covid_seg20", tmp_path)
    assert (problem.code, "coronacases_001.nii.gz" in problem.where) == ("mask-missing", True)
    for name in ("covid_seg20", "covid_medseg", "covid_medseg9"):
        assert complaints(name, tmp_path / "none")[0].code == "layout-not-found"
