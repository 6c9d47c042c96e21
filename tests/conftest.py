"""Few threads and no worker pools in every test; nnU-Net's folders in a temporary place."""

import os

for variable in [v for v in os.environ if v.startswith("nnUNet_")]:
    del os.environ[variable]  # a developer's own settings, Weights & Biases among them
os.environ |= {
    "nnUNet_def_n_proc": "1",
    "nnUNet_n_proc_DA": "0",
    "nnUNet_compile": "f",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}

import pytest  # noqa: E402


@pytest.fixture
def nnunet_folders(tmp_path, monkeypatch):
    """nnUNet_raw, nnUNet_preprocessed and nnUNet_results in a temporary folder, which is returned."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path
