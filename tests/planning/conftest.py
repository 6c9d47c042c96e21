"""A planned dataset of PNG images."""

import shutil
from multiprocessing.pool import ThreadPool

import pytest
from planning_support import plan_stock, write_flat

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@pytest.fixture(autouse=True, scope="session")
def _threads_list_the_images():
    """nnU-Net forks twelve processes for it, whenever a planner is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnunetv2.utilities.utils.Pool", lambda processes: ThreadPool(1))
        yield


@pytest.fixture(scope="session")
def flat_base(tmp_path_factory):
    """A folder with a planned dataset of 256 x 320 PNG images; tests copy it."""
    base = tmp_path_factory.mktemp("flat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_n_proc_DA", "1")  # nnU-Net's planner sets torch's threads from it
        for name in FOLDERS:
            (base / name).mkdir()
            patch.setenv(name, str(base / name))
        plan_stock(write_flat(base, (256, 320)))
    return base


@pytest.fixture
def flat(flat_base, nnunet_folders):
    """The same dataset in this test's own folders; its preprocessed folder."""
    for name in FOLDERS[:2]:
        shutil.copytree(flat_base / name, nnunet_folders / name, dirs_exist_ok=True)
    return nnunet_folders / "nnUNet_preprocessed" / "Dataset501_Flat"
