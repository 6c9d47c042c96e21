"""The demo's data: the made dataset, or a folder of the user's with images and masks."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MASK_SUFFIXES = ("", "_mask")
ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
TEST_SHARE = 0.2
LEAST_TRAINING_CASES = 5  # nnU-Net makes five folds

LAYOUTS = """\
    DIR/train/images  DIR/train/masks  DIR/test/images  DIR/test/masks
or
    DIR/images  DIR/masks            (the last 20 % of the sorted names become the test images)"""


class DemoDataError(ValueError):
    """The user's folder does not hold what the demo needs; the message says what and where."""


@dataclass(frozen=True)
class DemoData:
    """Folders of training and test pairs; a mask's stem is its image's stem plus `mask_suffix`.

    `note` says in a sentence where the data and the split come from.
    """

    images: Path
    masks: Path
    test_images: Path
    test_masks: Path
    mask_suffix: str
    note: str


def check_data(data: Path) -> None:
    """Check the user's folder `data` as `find_data` does, without writing anything.

    Raises `DemoDataError` if the layout is none of `LAYOUTS`, if no mask suffix fits, or if there are too few
    pairs.
    """
    if _has_test_set(data):
        split_data(data / "train", data / "test", note="")
    else:
        _held_out(data)


def find_data(data: Path, work: Path) -> DemoData:
    """Find training and test pairs in the user's folder `data`.

    Without a test set in `data`, links to the files are made in `work/train` and `work/test`; nothing is
    copied and `data` is not written to. Raises as `check_data` does.
    """
    if _has_test_set(data):
        return split_data(data / "train", data / "test", note="User data, with its own test set.")
    parts = _held_out(data)
    for part, pairs in parts.items():
        for image, mask in pairs:
            _link(image, work / part / "images")
            _link(mask, work / part / "masks")
    n_test = len(parts["test"])
    total = n_test + len(parts["train"])
    note = f"User data; the last {n_test} of {total} sorted names are the test images, whoever they show."
    return split_data(work / "train", work / "test", note)


def split_data(train: Path, test: Path, note: str) -> DemoData:
    """Return the data of two folders that each hold `images` and `masks`.

    Raises `DemoDataError` if no mask suffix fits or there are fewer than five training pairs or no test pair.
    """
    stems = {part: _stems(part / "images") for part in (train, test)}
    _check_size(len(stems[train]), len(stems[test]), train.parent)
    suffix = find_mask_suffix(stems[train], _stems(train / "masks"), train / "masks")
    find_mask_suffix(stems[test], _stems(test / "masks"), test / "masks", allowed=(suffix,))
    return DemoData(train / "images", train / "masks", test / "images", test / "masks", suffix, note)


def find_mask_suffix(
    images: Iterable[str], masks: Iterable[str], folder: Path, allowed: Iterable[str] = MASK_SUFFIXES
) -> str:
    """Return the suffix with which every image's stem is a mask's stem.

    Raises `DemoDataError`, with the first images that lack a mask, if none of `allowed` fits.
    """
    present = set(masks)
    missing = {s: sorted(stem for stem in images if stem + s not in present) for s in allowed}
    best = min(missing, key=lambda suffix: len(missing[suffix]))
    if missing[best]:
        names = ", ".join(stem + best for stem in missing[best][:3])
        raise DemoDataError(
            f"{len(missing[best])} image(s) have no mask in {folder}; missing are {names} (.png, .bmp or .tif)"
            f"{' and more' if len(missing[best]) > 3 else ''}. A mask has its image's name, or that name followed "
            "by '_mask': polyp_01.png and polyp_01_mask.png."
        )
    return best


def _has_test_set(data: Path) -> bool:
    if not data.is_dir():
        raise DemoDataError(f"--data {data}: no such folder. It should hold\n{LAYOUTS}")
    if all((data / part / kind).is_dir() for part in ("train", "test") for kind in ("images", "masks")):
        return True
    if (data / "images").is_dir() and (data / "masks").is_dir():
        return False
    found = ", ".join(sorted(path.name for path in data.iterdir() if path.is_dir())) or "no sub-folders"
    raise DemoDataError(f"--data {data}: found {found}. It should hold\n{LAYOUTS}")


def _held_out(data: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Return (image, mask) of "train" and "test", the last names in "test"."""
    images = _files(data / "images")
    masks = {path.stem: path for path in _files(data / "masks")}
    n_test = min(len(images), max(1, round(TEST_SHARE * len(images))))
    _check_size(len(images) - n_test, n_test, data)
    suffix = find_mask_suffix([path.stem for path in images], masks, data / "masks")
    pairs = [(path, masks[path.stem + suffix]) for path in images]
    return {"train": pairs[:-n_test], "test": pairs[-n_test:]}


def _check_size(n_train: int, n_test: int, data: Path) -> None:
    if n_train < LEAST_TRAINING_CASES or n_test < 1:
        raise DemoDataError(
            f"{data} gives {n_train} training and {n_test} test images; the demo needs at least "
            f"{LEAST_TRAINING_CASES} training images (nnU-Net makes five folds) and 1 test image "
            f"({', '.join(ENDINGS)})."
        )


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))


def _stems(folder: Path) -> list[str]:
    return [path.stem for path in _files(folder)]


def _link(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).symlink_to(path.resolve())
