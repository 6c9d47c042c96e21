"""Writing of a checked data set: complete under its name, or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.inspecting import Finding, array_hash, files_of, stamp
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.pixels import as_mode
from nnunet_ext.dataset_conversion.problems import ConversionError, RefusedFile, describe
from nnunet_ext.dataset_conversion.splits import Fold
from nnunet_ext.dataset_conversion.working import in_order
from nnunet_ext.parallel import Progress

RGB = ("R", "G", "B")
CHANNEL_NAMES = {"RGB": RGB, "RGB;16": RGB, "L": ("grey",), "I;16": ("grey",), "F": ("grey",)}
NEED_TIFF = ("RGB;16", "F")  # PNG readers cut the one to 8 bits and cannot hold the other
IMAGE_LEVEL = 1  # of zlib's 9; beside its default, photographs take a third of the time, and 5 to 20 % more bytes
LABEL_LEVEL = -1  # zlib's default: labels are quick to compress, and twice as large with 1
LISTED_FROM = 5000  # more cases than this are listed in dataset.json: nnU-Net's own listing is quadratic
SPLITS_FILE = "splits_final.json"


@dataclass(frozen=True)
class Writing:
    """Writes one case; picklable, so that it runs in worker processes.

    Attributes:
        folder: the temporary folder.
        mode: common mode of the images.
        legend: what masks mean, and how files are read.
        link: hard links to files that can be used unchanged, instead of copies.
    """

    folder: Path
    mode: str
    legend: Legend
    link: bool

    @property
    def ending(self) -> str:
        """``.png``, or ``.tif`` for pixels that PNG cannot hold or nnU-Net's reader would cut."""
        return ending_of(self.mode)

    def __call__(self, job: tuple[Case, Finding]) -> tuple[bool, bool]:
        """Write image and label file; tell for each whether the source was used unchanged.

        Raises:
            RefusedFile: a source file changed since it was checked.
            OSError: the output could not be written.
        """
        case, finding = job
        _refuse_changed(case, finding)
        part = "Ts" if case.is_test else "Tr"
        image = self.folder / f"images{part}" / f"{case.name}_0000{self.ending}"
        image_unchanged = finding.image_as_is and finding.image_mode == self.mode and self.ending == ".png"
        if image_unchanged:
            self._reuse(case.image.files[0], image)
        else:
            self._save(as_mode(case.image.read(self.legend.rules), self.mode), image, IMAGE_LEVEL)
        if case.mask is None:
            return image_unchanged, False
        label = self.folder / f"labels{part}" / f"{case.name}{self.ending}"
        mask_unchanged = finding.mask_as_is and self.ending == ".png"
        if mask_unchanged:
            self._reuse(case.mask.files[0], label)
        else:
            self._save(case.mask.read(self.legend, finding.size[::-1]).labels, label, LABEL_LEVEL)
        return image_unchanged, mask_unchanged

    def _reuse(self, source: Path, target: Path) -> None:
        if not self.link:
            shutil.copyfile(source, target)
            return
        source = source.resolve()
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without hard links
            os.symlink(source, target)

    def _save(self, pixels: np.ndarray, path: Path, level: int) -> None:
        if self.ending == ".png":
            Image.fromarray(pixels).save(path, compress_level=level)
            return
        import tifffile

        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")


def ending_of(mode: str) -> str:
    """File ending of a data set with images of this mode."""
    return ".tif" if mode in NEED_TIFF else ".png"


def _refuse_changed(case: Case, finding: Finding) -> None:
    for path, before in zip(files_of(case), finding.stamps, strict=True):
        if stamp(path) != before:
            where = f"{path} was changed or removed while the conversion ran"
            raise RefusedFile("file-changed", "files that changed since they were checked", where, "convert again")


@dataclass(frozen=True)
class Output:
    """A data set ready to be written.

    Attributes:
        target: the ``Dataset<id>_<name>`` folder.
        cases: all cases.
        findings: one for each case.
        mode: common mode of the images.
        legend: what masks mean.
        splits: for ``splits_final.json``.
        cases_csv: text of ``cases.csv``.
        about: further entries of ``dataset.json``, such as "reference" and "licence".
        link: see :class:`Writing`.
        workers: number of processes.
    """

    target: Path
    cases: Sequence[Case]
    findings: Sequence[Finding]
    mode: str
    legend: Legend
    splits: Sequence[Fold]
    cases_csv: str
    about: Mapping[str, str] = field(default_factory=dict)
    link: bool = False
    workers: int = 1

    def metadata(self) -> dict[str, str]:
        """``{file name: content}`` of the three text files; equal for equal sources and flags."""
        return {
            "dataset.json": json.dumps(self._dataset_json(), indent=4) + "\n",
            "cases.csv": self.cases_csv,
            SPLITS_FILE: splits_text(self.splits),
        }

    def _dataset_json(self) -> dict[str, object]:
        ending, train = ending_of(self.mode), [case for case in self.cases if not case.is_test]
        content: dict[str, object] = {
            "channel_names": {str(index): channel for index, channel in enumerate(CHANNEL_NAMES[self.mode])},
            "labels": self.legend.dataset_labels(),
            "numTraining": len(train),
            "file_ending": ending,
            "name": self.target.name.partition("_")[2],
            "licence": "not stated",
            "converted_by": "nnunet_ext convert",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
            **self.about,
        }
        if order := self.legend.regions_class_order():
            content["regions_class_order"] = order
        if len(train) > LISTED_FROM:
            content["dataset"] = {
                case.name: {
                    "images": [f"imagesTr/{case.name}_0000{ending}"],
                    "label": f"labelsTr/{case.name}{ending}",
                }
                for case in train
            }
        return content

    def files(self) -> list[str]:
        """Every image and label file, relative to the target."""
        ending = ending_of(self.mode)
        names = []
        for case in self.cases:
            part = "Ts" if case.is_test else "Tr"
            names.append(f"images{part}/{case.name}_0000{ending}")
            if case.mask is not None:
                names.append(f"labels{part}/{case.name}{ending}")
        return names


def splits_text(splits: Sequence[Fold]) -> str:
    """Text of ``splits_final.json``."""
    return json.dumps(list(splits), indent=4) + "\n"


def differing_files(output: Output, labels: bool = True) -> list[str]:
    """Names of files in which the target differs from the output; empty if it was converted from just this before.

    Args:
        output: what would be written.
        labels: whether label files are decoded and compared as well.
    """
    differing = []
    for name, text in output.metadata().items():
        path = output.target / name
        if not path.is_file() or path.read_bytes() != text.encode():
            differing.append(name)
    present = {
        f"{sub}/{p.name}" for sub in ("imagesTr", "imagesTs", "labelsTr", "labelsTs") for p in _listed(output, sub)
    }
    differing += sorted(set(output.files()) ^ present)
    if differing or not labels:
        return differing
    with_masks = [(case, finding) for case, finding in zip(output.cases, output.findings, strict=True) if case.mask]
    same = in_order(_HasLabels(output.target, ending_of(output.mode)), with_masks, output.workers, "compared", None)
    return [f"labels of {case.name}" for (case, _), is_same in zip(with_masks, same, strict=True) if not is_same]


@dataclass(frozen=True)
class _HasLabels:
    """Tell whether the label file of a case in the target holds the labels that would be written."""

    target: Path
    ending: str

    def __call__(self, job: tuple[Case, Finding]) -> bool:
        case, finding = job
        path = self.target / f"labels{'Ts' if case.is_test else 'Tr'}" / f"{case.name}{self.ending}"
        try:
            with Image.open(path) as image:
                return array_hash(np.asarray(image)) == finding.label_hash
        except (OSError, SyntaxError, ValueError):
            return False


def _listed(output: Output, sub: str) -> list[Path]:
    folder = output.target / sub
    return list(folder.iterdir()) if folder.is_dir() else []


def write_dataset(output: Output, progress: Progress | None, replace: bool = False) -> tuple[int, int]:
    """Write the data set to a hidden folder beside the target, then rename it; nothing half-written remains.

    An old target is replaced if ``replace`` is set, and kept if anything fails.

    Returns:
        The number of images and of masks that were linked or copied instead of written anew.

    Raises:
        ConversionError: a source file changed since it was checked, or the target appeared meanwhile.
        OSError: the output could not be written.
    """
    target = output.target
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(target, "tmp")
    temporary = target.with_name(f".{target.name}.tmp-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")
    try:
        for sub in sorted({name.partition("/")[0] for name in output.files()}):
            (temporary / sub).mkdir(parents=True)
        write = Writing(temporary, output.mode, output.legend, output.link)
        jobs = list(zip(output.cases, output.findings, strict=True))
        reused = list(in_order(write, jobs, output.workers, "wrote", progress))
        for name, text in output.metadata().items():
            (temporary / name).write_bytes(text.encode())
        _put_in_place(temporary, target, replace)
        _remove_left_over(target, "old")
    except RefusedFile as refused:
        raise ConversionError(describe([refused.problem]), [refused.problem]) from refused
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sum(image for image, _ in reused), sum(mask for _, mask in reused)


def _remove_left_over(target: Path, kind: str) -> None:
    """Remove what a killed conversion to the same target on this machine left.

    Args:
        target: the data set.
        kind: "tmp", a new data set that was not complete, or "old", the one that was being replaced: it goes only when
            there is another in its place.
    """
    start = f".{target.name}.{kind}-{socket.gethostname()}-"
    for folder in target.parent.glob(f"{start}*"):
        number = folder.name[len(start) :].partition("-")[0]
        if not number.isdigit() or _runs(int(number)):
            continue
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _put_in_place(new: Path, target: Path, replace: bool) -> None:
    """Rename ``new`` to ``target``; an old ``target`` is removed after that, or comes back if it fails."""
    if not os.path.lexists(target):
        os.rename(new, target)  # fails if a folder with files has appeared in between
        return
    if not replace:
        where, remedy = f"{target} was written by another command meanwhile", "look at it; --overwrite replaces it"
        raise RefusedFile("id-in-use", "data set id in use", where, remedy)
    old = new.with_name(new.name.replace(".tmp-", ".old-"))
    try:
        os.rename(target, old)
        os.rename(new, target)
    finally:
        if not os.path.lexists(target):
            os.rename(old, target)
        elif old.is_symlink() or old.is_file():
            old.unlink()
        else:
            shutil.rmtree(old, ignore_errors=True)
