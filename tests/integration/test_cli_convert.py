"""`nnunet_ext convert` as typed: what it writes, what it refuses, and how."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pairs(tmp_path):
    """Six grey pairs in `images` and `masks`, and an empty nnUNet_raw."""
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30), dtype=np.uint8)
        mask = np.zeros((20, 30), np.uint8)
        mask[index : index + 5, 3:9] = 255
        for part, content in (("images", pixels), ("masks", mask)):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(content).save(tmp_path / part / f"c{index}.png")
    (tmp_path / "raw").mkdir()
    return tmp_path


@pytest.fixture
def convert(bare_host, pairs):
    """Call the command with standard output and standard error apart."""

    def call(*flags, dataset="7", name="Grey", **changes):
        from_here = {"nnUNet_raw": str(pairs / "raw"), **changes}
        arguments = ["-i", pairs / "images", "-m", pairs / "masks", "-d", dataset, "-n", name, *flags]
        command = [str(a) for a in (Path(sys.executable).parent / "nnunet_ext", "convert", *arguments)]
        return subprocess.run(
            command, env=bare_host.environment(**from_here), capture_output=True, text=True, check=False
        )

    return call


def assert_refused(done, pairs, *messages):
    """Exit code 1, the messages on standard error, no traceback, nothing written."""
    assert done.returncode == 1, done.stderr
    for message in messages:
        assert message in done.stderr
    assert done.stderr.startswith("nnunet_ext: ")
    assert "Traceback" not in done.stderr
    assert list((pairs / "raw").iterdir()) == []


def test_pairs_become_a_dataset(convert, pairs):
    done = convert()
    assert done.returncode == 0, done.stderr
    folder = pairs / "raw" / "Dataset007_Grey"
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 6
    label = np.asarray(Image.open(folder / "labelsTr" / "c2.png"))
    np.testing.assert_array_equal(label, np.asarray(Image.open(pairs / "masks" / "c2.png")) // 255)
    assert "next: nnUNetv2_plan_and_preprocess -d 7 -c 2d --verify_dataset_integrity" in done.stdout


def test_an_image_without_a_mask_is_named(convert, pairs):
    (pairs / "masks" / "c3.png").unlink()
    assert_refused(convert(), pairs, "c3")


def test_a_mask_with_many_values_is_refused_with_the_threshold_flag(convert, pairs):
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)).save(pairs / "masks" / "c1.png")
    assert_refused(convert(), pairs, "c1.png", "--threshold")
    assert convert("--threshold", "127").returncode == 0


def test_a_mask_of_another_size_is_refused(convert, pairs):
    Image.new("L", (31, 20)).save(pairs / "masks" / "c4.png")
    assert_refused(convert(), pairs, "c4.png", "31", "30")


def test_several_mistakes_are_told_at_once(convert, pairs):
    (pairs / "masks" / "c0.png").unlink()
    (pairs / "masks" / "c5.png").write_bytes(b"no image")
    assert_refused(convert(dataset="0"), pairs, "c0", "c5.png", "-d 0")


def test_a_folder_that_is_not_there_is_refused(convert, pairs):
    (pairs / "masks").rename(pairs / "labels")
    assert_refused(convert(), pairs, str(pairs / "masks"))


def test_an_existing_dataset_stays_as_it_is_without_overwrite(convert, pairs):
    assert convert().returncode == 0
    kept = {f: f.read_bytes() for f in (pairs / "raw").rglob("*") if f.is_file()}
    Image.new("L", (30, 20), 9).save(pairs / "images" / "c0.png")
    done = convert()
    assert done.returncode == 1
    assert "--overwrite" in done.stderr
    assert "Traceback" not in done.stderr
    assert {f: f.read_bytes() for f in (pairs / "raw").rglob("*") if f.is_file()} == kept
    assert convert("--overwrite").returncode == 0


def test_without_nnunet_raw_the_export_line_is_named(convert, pairs):
    assert_refused(convert(nnUNet_raw=None), pairs, "export nnUNet_raw=")


def test_an_id_that_is_no_number_is_a_wrong_call(convert, pairs):
    done = convert(dataset="seven")
    assert done.returncode == 2
    assert "usage: nnunet_ext convert" in done.stderr
    assert list((pairs / "raw").iterdir()) == []
