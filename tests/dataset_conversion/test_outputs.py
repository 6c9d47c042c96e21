"""What lies on disk after a conversion: links, listed cases, folds, leftovers, and the same from several processes."""

import errno
import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dataset_conversion.conversion_flags import with_options
from PIL import Image

from nnunet_ext import parallel
from nnunet_ext.dataset_conversion import working, writing
from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.convert import ConversionError, Options, Target, convert, diagnose
from nnunet_ext.dataset_conversion.inspecting import Inspection
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import DecodedImage, ImageFile, Reading
from nnunet_ext.dataset_conversion.sources import FolderSource

SIZE = (16, 20)  # H, W
MASK = np.zeros(SIZE, np.uint8)
MASK[2:5, 3:9] = 1


class Place:
    """Pairs that can be taken over as they are, and folders for nnU-Net."""

    def __init__(self, root: Path, n: int = 6):
        self.images, self.masks = root / "images", root / "masks"
        self.raw, self.preprocessed = root / "raw", root / "preprocessed"
        self.folder = self.raw / "Dataset501_Pairs"
        self.splits = self.preprocessed / "Dataset501_Pairs" / "splits_final.json"
        for index in range(n):
            pixels = np.random.default_rng(index).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            for folder, content in ((self.images, pixels), (self.masks, MASK)):
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(folder / f"c{index}.png")

    def convert(self, **options):
        where = {"preprocessed_folder": self.preprocessed}
        return convert(self.images, self.masks, 501, "Pairs", self.raw, **where, **with_options(options))

    def refused(self, **options) -> str:
        before = contents(self.raw), contents(self.preprocessed), contents(self.images), contents(self.masks)
        with pytest.raises(ConversionError) as caught:
            self.convert(**options)
        after = contents(self.raw), contents(self.preprocessed), contents(self.images), contents(self.masks)
        assert after == before
        return str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# ---------------------------------------------------------------------------------------------- links


def test_links_instead_of_copies(place):
    sources = contents(place.images), contents(place.masks)
    result = place.convert(link=True)
    assert result.n_reused == (6, 6)
    assert (place.folder / "imagesTr" / "c0_0000.png").samefile(place.images / "c0.png")
    assert (place.folder / "labelsTr" / "c0.png").samefile(place.masks / "c0.png")
    assert not (place.folder / "labelsTr" / "c0.png").is_symlink()
    place.convert(seed=7, overwrite=True)  # copies take the links' place
    assert not (place.folder / "imagesTr" / "c0_0000.png").samefile(place.images / "c0.png")
    (place.folder / "labelsTr" / "c0.png").write_bytes(b"spoiled")
    assert (contents(place.images), contents(place.masks)) == sources


def test_symbolic_links_where_hard_links_fail(place, monkeypatch, tmp_path):
    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(writing.os, "link", no_links)
    (tmp_path / "elsewhere").mkdir()
    (place.images / "c0.png").rename(tmp_path / "elsewhere" / "c0.png")
    (place.images / "c0.png").symlink_to(tmp_path / "elsewhere" / "c0.png")
    sources = contents(place.images), contents(place.masks)
    place.convert(link=True)
    linked = place.folder / "imagesTr" / "c0_0000.png"
    assert os.readlink(linked) == str((tmp_path / "elsewhere" / "c0.png").resolve())
    assert np.array_equal(np.asarray(Image.open(linked)), np.asarray(Image.open(place.images / "c0.png")))
    place.convert(link=True, seed=7, overwrite=True)
    assert (contents(place.images), contents(place.masks)) == sources


def test_only_files_that_are_right_as_they_are_become_links(place):
    Image.fromarray(MASK * 255).save(place.masks / "c0.png")
    Image.open(place.images / "c1.png").save(place.images / "c1.bmp")
    (place.images / "c1.png").unlink()
    result = place.convert(link=True)
    assert result.n_reused == (5, 5)
    assert (place.masks / "c0.png").stat().st_nlink == 1
    assert (place.images / "c1.bmp").stat().st_nlink == 1


def test_a_source_that_is_a_link_into_the_old_data_set(place, tmp_path):
    old = place.convert().dataset_folder
    (place.images / "c0.png").unlink()
    (place.images / "c0.png").symlink_to(old / "imagesTr" / "c0_0000.png")
    message = place.refused(overwrite=True)
    assert f"{place.images / 'c0.png'} lies in {old}" in message
    assert (place.images / "c0.png").exists()


# ---------------------------------------------------------------------------------------------- dataset.json, folds


def test_long_lists_are_in_the_json_file_and_mean_the_same(place, monkeypatch):
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    def nnunets_view() -> dict:
        pairs = get_filenames_of_train_images_and_targets(str(place.folder))
        return {
            case: (
                [os.path.relpath(f, place.folder) for f in pair["images"]],
                os.path.relpath(pair["label"], place.folder),
            )
            for case, pair in pairs.items()
        }

    Image.fromarray(MASK).save(place.images / "c0.png")
    place.convert()
    assert "dataset" not in json.loads((place.folder / "dataset.json").read_text())
    plain = nnunets_view()
    assert len(plain) == 6
    monkeypatch.setattr(writing, "LISTED_FROM", 5)
    place.convert(overwrite=True)
    assert "dataset" in json.loads((place.folder / "dataset.json").read_text())
    assert nnunets_view() == plain


def test_other_folds_in_the_way(place):
    place.splits.parent.mkdir(parents=True)
    place.splits.write_text("[]")
    message = place.refused()
    assert f"[splits-exist] another splits_final.json (1):\n    {place.splits} holds other folds" in message
    place.convert(overwrite=True)
    assert (place.splits.parent / "splits_final.json.old1").read_text() == "[]"
    assert len(json.loads(place.splits.read_text())) == 5
    place.convert(overwrite=True, seed=7)
    assert [p.name for p in sorted(place.splits.parent.iterdir())] == [
        *("splits_final.json", "splits_final.json.old1", "splits_final.json.old2")
    ]


def test_folds_edited_after_the_conversion_are_not_replaced(place):
    place.convert()
    place.splits.write_text("[1]")
    assert "holds other folds" in place.refused()
    assert place.splits.read_text() == "[1]"


def test_the_same_folds_in_another_form_are_left_alone(place):
    place.convert()
    as_nnunet_writes = json.dumps(json.loads(place.splits.read_text()), indent=1, sort_keys=True)
    place.splits.write_text(as_nnunet_writes)
    assert place.convert().unchanged
    place.convert(overwrite=True)
    assert place.splits.read_text() == as_nnunet_writes


def test_a_dry_run_tells_what_is_in_the_way(place):
    source = FolderSource({"train": (place.images, place.masks)})
    target = Target(501, "Pairs", place.raw, place.preprocessed)
    assert diagnose(source, target, Options()).errors == ()
    assert not place.raw.exists()
    place.convert(seed=7)
    assert [problem.code for problem in diagnose(source, target, Options()).errors] == ["id-in-use", "splits-exist"]
    assert diagnose(source, target, Options(overwrite=True)).errors == ()


# ---------------------------------------------------------------------------------------------- leftovers, full disk


def dead_process() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_leftovers_of_a_killed_conversion_are_removed(place):
    host, dead, parent = socket.gethostname(), dead_process(), os.getppid()
    place.raw.mkdir()
    for name in (
        f".Dataset501_Pairs.tmp-{host}-{dead}-abc123",
        f".Dataset501_Pairs.old-{host}-{dead}-abc123",
        f".Dataset501_Pairs.tmp-{host}-{parent}-abc123",  # still runs
        f".Dataset501_Pairs.tmp-{host}x-{dead}-abc123",  # on another machine
        f".Dataset502_Pairs.tmp-{host}-{dead}-abc123",
    ):
        (place.raw / name / "imagesTr").mkdir(parents=True)
    place.convert()
    assert sorted(path.name for path in place.raw.iterdir()) == [
        f".Dataset501_Pairs.tmp-{host}-{parent}-abc123",
        f".Dataset501_Pairs.tmp-{host}x-{dead}-abc123",
        f".Dataset502_Pairs.tmp-{host}-{dead}-abc123",
        "Dataset501_Pairs",
    ]


def test_a_full_disk_leaves_nothing(place, monkeypatch):
    copied = []
    copy = writing.shutil.copyfile

    def full(source: Path, target: Path) -> None:
        copy(source, target)
        copied.append(target)
        if len(copied) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.shutil, "copyfile", full)
    sources = contents(place.images), contents(place.masks)
    with pytest.raises(OSError, match="No space left"):
        place.convert()
    assert len(copied) == 3
    assert list(place.raw.iterdir()) == []
    assert not place.preprocessed.exists()
    assert (contents(place.images), contents(place.masks)) == sources


def test_a_full_disk_while_the_folds_are_written(place, monkeypatch):
    write_text = Path.write_text

    def full(path: Path, *arguments: object, **more: object) -> int:
        if "splits_final" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        place.convert()
    assert not place.splits.exists()
    monkeypatch.undo()
    assert place.convert().unchanged
    assert place.splits.is_file()


# ---------------------------------------------------------------------------------------------- several processes


@dataclass(frozen=True)
class Deadly:
    """An image whose decoding kills the process, as a lack of memory does."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, rules: Reading) -> DecodedImage:
        if rules.alpha == "refuse" and os.getpid() != int(self.path.name):
            os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("read in the test's own process")


def test_a_killed_process_is_told_with_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "FEWEST_FOR_WORKERS", 1)
    image = Deadly(tmp_path / str(os.getpid()))
    work = Inspection(legend_from_flags(None, None, None, []))
    with pytest.raises(ConversionError) as caught:
        list(working.in_order(work, [Case("a", image), Case("b", image)], 2, "checked", None))
    (problem,) = caught.value.problems
    assert problem.code == "worker-killed"
    assert "-np 2: a process ended while images were checked" in problem.where
    assert "memory" in problem.remedy
    assert "-np 1" in problem.remedy


def test_several_processes_write_the_same_bytes(tmp_path, monkeypatch):
    place = Place(tmp_path, 24)
    for index in range(0, 24, 3):
        Image.fromarray(MASK * 255).save(place.masks / f"c{index}.png")
        Image.fromarray(MASK * index).save(place.images / f"c{index}.png")
    place.convert()
    alone = contents(place.raw), contents(place.preprocessed)
    monkeypatch.setattr(parallel, "FEWEST_FOR_WORKERS", 1)
    told = []
    result = place.convert(workers=2, overwrite=True, progress=lambda *call: told.append(call))
    assert (contents(place.raw), contents(place.preprocessed)) == alone
    assert result.n_train == 24
    assert told == [(verb, n, 24) for verb in ("checked", "wrote") for n in range(1, 25)]


def test_a_refused_file_comes_back_from_another_process(tmp_path, monkeypatch):
    """Problems are pickled with their values."""
    import pickle

    from nnunet_ext.dataset_conversion.problems import RefusedFile

    refused = RefusedFile("code", "what", "where", "remedy {classes}", (3, 5))
    back = pickle.loads(pickle.dumps(refused))
    assert back.problem == refused.problem
    case = Case("a", ImageFile(tmp_path / "none.png"), MaskFile(tmp_path / "none.png"))
    finding = pickle.loads(pickle.dumps(Inspection(legend_from_flags(None, None, None, []))(case)))
    assert {problem.code for problem in finding.problems} == {"unreadable"}
