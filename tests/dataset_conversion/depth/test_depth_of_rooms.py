"""Depth of NYU Depth v2, DIODE and MODEST in their own layouts."""

import importlib
import itertools

import numpy as np
import pytest
from dataset_conversion.depth_checks import NAN, complaints, depth, found, row, save_npy
from dataset_conversion.layout_checks import picture, save
from scipy.io import savemat

from nnunet_ext.dataset_conversion.pixels import Reading
from nnunet_ext.dataset_conversion.problems import RefusedFile

METRES = row(0, 0.5, 9.5, 2)


def nyu(root, h5py):
    """Two images; MATLAB's H x W x 3 x N is N x 3 x W x H in HDF5."""
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = np.stack([picture(i).transpose(2, 1, 0) for i in range(2)])
        file["depths"] = np.stack([row(1.5).T, row(3).T])
        file["rawDepths"] = np.stack([METRES.T, METRES.T])
    savemat(root / "splits.mat", {"trainNdxs": [[2]], "testNdxs": [[1]]})
    return root


def nyu_h5(root, h5py):
    for path in ("train/basement_0001a/00001.h5", "val/official/00001.h5"):
        (root / "nyudepthv2" / path).parent.mkdir(parents=True)
        with h5py.File(root / "nyudepthv2" / path, "w") as file:
            file["rgb"], file["depth"] = picture(4).transpose(2, 0, 1), METRES
    return root


def nyu_50k(root):
    folder = root / "nyu_data/data"
    save(picture(1), folder / "nyu2_train/basement_0001a_out/1.jpg", quality=95)
    save(row(0, 51, 255).astype(np.uint8), folder / "nyu2_train/basement_0001a_out/1.png")
    save(picture(2), folder / "nyu2_test/00000_colors.png")
    save(row(0, 500, 9000).astype(np.uint16), folder / "nyu2_test/00000_depth.png")
    (folder / "nyu2_train.csv").write_text("data/nyu2_train/basement_0001a_out/1.jpg,...")
    return root


def diode(root):
    for split, scene in itertools.product(("train", "val"), ("indoors", "outdoor")):
        stem = root / f"{split}/{scene}/scene_00019/scan_00183/{split}_00183_{scene}_000_010"
        save(picture(1), stem.with_name(stem.name + ".png"))
        save_npy(row(0.7, 200, 5, 1)[..., None], stem.with_name(stem.name + "_depth.npy"))
        save_npy(row(1, 1, 0, 1), stem.with_name(stem.name + "_depth_mask.npy"))
        save_npy(picture(1) / 255, stem.with_name(stem.name + "_normal.npy"))
    return root


def modest(root):
    for key in ("bg001_fg001_01", "bg002_fg001_01"):
        save(picture(1), root / f"bg_fg/{key}.jpeg", quality=95)
        save(np.full((12, 16), 51, np.uint8), root / f"bg_fg_depth_map/{key}_depth_map.jpeg", quality=100)
        save(np.full((12, 16), 255, np.uint8), root / f"bg_fg_mask/{key}_mask.jpeg")
    return root


def test_nyu_is_turned_upright_and_keeps_its_split(tmp_path):
    cases = found("nyu_depth_v2", nyu(tmp_path, pytest.importorskip("h5py")))
    assert {n: c.split for n, c in cases.items()} == {"nyu_0002": "train", "nyu_0001": "test"}
    np.testing.assert_array_equal(cases["nyu_0002"].image.read(Reading()).pixels, picture(1))
    np.testing.assert_array_equal(depth("nyu_depth_v2", cases["nyu_0002"]).values, row(3))
    raw = found("nyu_depth_v2_raw", tmp_path)["nyu_0001"]
    np.testing.assert_array_equal(depth("nyu_depth_v2_raw", raw).values, row(NAN, 0.5, 9.5, 2))


def test_nyu_in_millimetres_or_without_the_array_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    case = found("nyu_depth_v2", nyu(tmp_path, h5py))["nyu_0001"]
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        file["depths"][...] = 1500
    with pytest.raises(RefusedFile, match="1500") as error:
        case.depth.read()
    assert error.value.problem.code == "depth-unit"
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["depths"]
    with pytest.raises(RefusedFile, match=r"nyu_depth_v2_labeled\.mat"):
        case.depth.read()


def test_nyu_with_a_file_for_each_image(tmp_path):
    cases = found("nyu_depth_v2_h5", nyu_h5(tmp_path, pytest.importorskip("h5py")))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {
        "basement_0001a_00001": ("train", "basement_0001a"),
        "official_00001": ("test", ""),
    }
    np.testing.assert_array_equal(cases["official_00001"].image.read(Reading()).pixels, picture(4))
    np.testing.assert_array_equal(depth("nyu_depth_v2_h5", cases["official_00001"]).values, row(NAN, 0.5, 9.5, 2))


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "nyu_depth_v2_labeled.mat").write_bytes(b"")
    savemat(tmp_path / "splits.mat", {"trainNdxs": [[2]], "testNdxs": [[1]]})
    case = found("nyu_depth_v2", tmp_path)["nyu_0001"]  # finding needs no h5py
    whole = importlib.import_module

    def without(name, package=None):
        if name == "h5py":
            raise ModuleNotFoundError("No module named 'h5py'")
        return whole(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    for read in (case.depth.read, lambda: case.image.read(Reading())):
        with pytest.raises(RefusedFile, match=r"nyu_depth_v2_labeled\.mat.*pip install h5py"):
            read()


def test_the_official_split_of_nyu_is_needed(tmp_path):
    assert set(complaints("nyu_depth_v2", tmp_path)) == {"layout-not-found"}
    (tmp_path / "nyu_depth_v2_labeled.mat").write_bytes(b"")
    assert complaints("nyu_depth_v2", tmp_path) == ["layout-not-found"]
    (tmp_path / "splits.mat").write_bytes(b"nothing")
    assert complaints("nyu_depth_v2", tmp_path) == ["unreadable"]
    savemat(tmp_path / "splits.mat", {"trainNdxs": [[2]]})
    assert complaints("nyu_depth_v2", tmp_path) == ["split-file"]


def test_nyu_in_image_files_has_two_scales(tmp_path):
    cases = found("nyu_depth_v2_50k", nyu_50k(tmp_path))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {
        "basement_0001a_out_1": ("train", "basement_0001a_out"),
        "test_00000": ("test", ""),
    }
    train, test = (depth("nyu_depth_v2_50k", cases[n]).values for n in ("basement_0001a_out_1", "test_00000"))
    np.testing.assert_allclose(train, row(NAN, 2, 10), rtol=1e-6)
    np.testing.assert_allclose(test, row(NAN, 0.5, 9), rtol=1e-6)
    (tmp_path / "nyu_data/data/nyu2_train/basement_0001a_out/1.png").unlink()
    assert complaints("nyu_depth_v2_50k", tmp_path) == ["layout-not-found"]


def test_masks_of_diode_decide_what_is_measured(tmp_path):
    cases = found("diode", diode(tmp_path))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {
        "train_00183_indoors_000_010": ("train", "scene_00019"),
        "train_00183_outdoor_000_010": ("train", "scene_00019"),
        "val_00183_indoors_000_010": ("val", "scene_00019"),
        "val_00183_outdoor_000_010": ("val", "scene_00019"),
    }
    values = depth("diode", cases["val_00183_outdoor_000_010"]).values
    np.testing.assert_array_equal(values, row(0.7, 200, NAN, 1))


def test_the_papers_part_of_diode_is_the_validation_part_outdoors(tmp_path):
    cases = found("diode_outdoor_val", diode(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"val_00183_outdoor_000_010": "train"}
    assert list(found("diode_indoors", tmp_path)) == ["train_00183_indoors_000_010", "val_00183_indoors_000_010"]


def test_diode_without_masks_or_in_millimetres_is_refused(tmp_path):
    case = found("diode", diode(tmp_path))["val_00183_outdoor_000_010"]
    save_npy(row(700, 5000), case.depth.path)
    with pytest.raises(RefusedFile, match="700 to 5000") as error:
        case.depth.read()
    assert error.value.problem.code == "depth-unit"
    save_npy(row(1)[:, :5], case.depth.path)
    with pytest.raises(RefusedFile, match="shape"):
        case.depth.read()
    case.depth.path.write_bytes(b"no array")
    with pytest.raises(RefusedFile, match=r"outdoor_000_010_depth\.npy"):
        case.depth.read()
    for path in tmp_path.glob("val/indoors/*/*/*_mask.npy"):
        path.rename(path.with_name("other_depth_mask.npy"))
    assert complaints("diode", tmp_path) == ["depth-mask-missing"]


def test_modest_is_relative_and_its_backgrounds_are_groups(tmp_path):
    cases = found("modest", modest(tmp_path))
    assert {n: c.group for n, c in cases.items()} == {"bg001_fg001_01": "bg001", "bg002_fg001_01": "bg002"}
    np.testing.assert_allclose(depth("modest", cases["bg002_fg001_01"]).values, row(0.2), rtol=1e-6)
    (tmp_path / "bg_fg/bg001_fg001_01.jpeg").unlink()
    assert complaints("modest", tmp_path) == ["image-missing"]
    assert set(complaints("modest", tmp_path / "none")) == {"layout-not-found"}
