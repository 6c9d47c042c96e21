"""Axial slices of NIfTI volumes, however they lie in the file."""

import pickle

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

from nnunet_ext.dataset_conversion.datasets.nifti_slices import slices
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.pixels import Reading
from nnunet_ext.dataset_conversion.problems import RefusedFile

BODY = np.arange(6 * 5 * 4).reshape(6, 5, 4)  # to the left, to the back, to the head


def lying(path, codes, voxels=BODY):
    """Write ``voxels``, which are in the order LPS, so that the file's axes have the directions ``codes``."""
    stored = apply_orientation(voxels, ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes)))
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (body_axis, direction) in enumerate(axcodes2ornt(codes)):
        affine[int(body_axis), axis] = direction
    nibabel.Nifti1Image(stored.astype(np.int16), affine).to_filename(path)
    return path


def all_slices(image, mask=None, window=(0.0, 255.0)):
    problems = []
    found = list(slices(image, mask, window, problems))
    assert problems == []
    return found


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "PSL", "SAR", "IRP"])
def test_slices_are_upright_from_the_feet_up(tmp_path, codes):
    found = all_slices(lying(tmp_path / "ct.nii", codes))
    assert [index for index, _, _ in found] == [0, 1, 2, 3]
    for index, image, _ in found:
        np.testing.assert_array_equal(image.read(Reading()).pixels, BODY[:, :, index].T)


def test_the_window_is_stretched_to_8_bits(tmp_path):
    values = np.array([-3000, -1250, -500, 250, 3000, 247]).reshape(6, 1, 1)
    (index, image, _), *_ = all_slices(lying(tmp_path / "ct.nii.gz", "LPS", values), window=(-1250.0, 250.0))
    assert (index, image.read(Reading()).mode) == (0, "L")
    assert image.read(Reading()).pixels.tolist() == [[0, 0, 128, 255, 255, 254]]
    assert image.read(Reading(color="rgb")).pixels.shape == (1, 6, 3)


def test_voxels_belong_together_whatever_the_masks_header_says(tmp_path):
    image, mask = lying(tmp_path / "ct.nii", "LPS"), tmp_path / "mask.nii"
    nibabel.Nifti1Image((BODY == 37).astype(np.uint8), np.eye(4)).to_filename(mask)
    legend = legend_from_flags(None, None, None, [])
    found = sum(m.read(legend, (5, 6)).labels.sum() * (index + 1) for index, _, m in all_slices(image, mask))
    assert found == 37 % 4 + 1
    labels = all_slices(image, mask)[1][2].read(legend, (5, 6)).labels
    np.testing.assert_array_equal(labels, BODY[:, :, 1].T == 37)


def test_a_slope_is_applied(tmp_path):
    scaled = nibabel.Nifti1Image(np.full((2, 2, 2), 7, np.int16), np.diag([-1, -1, 1, 1]))
    scaled.header.set_slope_inter(2, 5)
    path = tmp_path / "ct.nii.gz"
    scaled.to_filename(path)
    assert (all_slices(path)[0][1].read(Reading()).pixels == 7 * 2 + 5).all()


def test_slices_go_to_worker_processes(tmp_path):
    path = lying(tmp_path / "ct.nii", "LPS")
    for found in all_slices(path, path):
        assert pickle.loads(pickle.dumps(found)) == found


def test_what_cannot_be_read_is_said(tmp_path):
    problems = []
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    assert list(slices(tmp_path / "broken.nii.gz", None, (0, 1), problems)) == []
    nibabel.Nifti1Image(np.zeros((2, 2, 2, 2), np.int16), np.eye(4)).to_filename(tmp_path / "four.nii")
    assert list(slices(tmp_path / "four.nii", None, (0, 1), problems)) == []
    assert [p.code for p in problems] == ["unreadable", "volume-shape"]


def test_masks_that_do_not_fit_are_refused(tmp_path):
    image, legend = lying(tmp_path / "ct.nii", "LPS"), legend_from_flags(None, None, None, [])
    small = lying(tmp_path / "small.nii", "LPS", BODY[:, :, :2])
    with pytest.raises(RefusedFile) as refused:
        all_slices(image, small)[0][2].read(legend, (5, 6))
    assert refused.value.problem.code == "volume-shape"
    soft = tmp_path / "soft.nii"
    nibabel.Nifti1Image(np.full(BODY.shape, 0.5, np.float32), np.eye(4)).to_filename(soft)
    with pytest.raises(RefusedFile) as refused:
        all_slices(image, soft)[0][2].read(legend, (5, 6))
    assert refused.value.problem.code == "mask-not-whole"


def test_truncated_volumes_and_nan_are_refused(tmp_path):
    path = lying(tmp_path / "ct.nii", "LPS")
    found = all_slices(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RefusedFile) as refused:
        found[0][1].read(Reading())
    assert refused.value.problem.code == "unreadable"
    nibabel.Nifti1Image(np.full(BODY.shape, np.nan, np.float32), np.eye(4)).to_filename(tmp_path / "nan.nii")
    with pytest.raises(RefusedFile) as refused:
        all_slices(tmp_path / "nan.nii")[0][1].read(Reading())
    assert refused.value.problem.code == "not-finite"
