"""Masks with a value for each class, and pixels that nnU-Net is to ignore."""

import json
import multiprocessing.dummy
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dataset_conversion.conversion_flags import with_options
from PIL import Image

from nnunet_ext.dataset_conversion.convert import ConversionError, ConversionResult, LabelShare, convert

SIZE = (12, 16)  # H, W
VALUES = np.zeros(SIZE, np.uint8)  # 0 background, 3 road, 8 car, 200 unlabelled
VALUES[2:6], VALUES[6:8, :8], VALUES[11] = 3, 8, 200
CLASSES = ["background=0", "road=3", "car=8"]
LABELS = np.select([VALUES == 3, VALUES == 8, VALUES == 200], [1, 2, 3], 0)


def save(pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path)


def snapshot(folder: Path) -> list[str]:
    return sorted(str(p) for p in folder.rglob("*"))


class Workplace:
    """Five RGB images with class masks; tests spoil or exchange some of them."""

    def __init__(self, root: Path):
        self.images, self.masks, self.raw = root / "images", root / "masks", root / "raw"
        for index in range(5):
            save(np.full((*SIZE, 3), 10 * index, np.uint8), self.images / f"c{index}.png")
        self.every_mask(VALUES)

    def every_mask(self, pixels, ending: str = ".png") -> None:
        shutil.rmtree(self.masks, ignore_errors=True)
        for index in range(5):
            save(pixels, self.masks / f"c{index}{ending}")

    def convert(self, **options) -> ConversionResult:
        return convert(self.images, self.masks, 7, "Streets", self.raw, **with_options(options))

    def refused(self, **options) -> str:
        before = snapshot(self.raw)
        with pytest.raises(ConversionError) as caught:
            self.convert(**options)
        assert snapshot(self.raw) == before
        return str(caught.value)


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def written(result: ConversionResult, case: str = "c0", part: str = "Tr") -> np.ndarray:
    label = np.asarray(Image.open(result.dataset_folder / f"labels{part}" / f"{case}.png"))
    assert label.dtype == np.uint8
    return label


def names(result: ConversionResult) -> dict[str, int]:
    return json.loads((result.dataset_folder / "dataset.json").read_text())["labels"]


# ---------------------------------------------------------------------------------------------- what is written


def test_values_become_labels_in_the_order_of_the_names(place):
    result = place.convert(labels=["car=8", "background=0", "road=3"], ignore=200)
    assert list(names(result).items()) == [("background", 0), ("car", 1), ("road", 2), ("ignore", 3)]
    np.testing.assert_array_equal(written(result), np.array([0, 2, 1, 3])[LABELS])
    assert result.notes == ()
    n = VALUES.size
    assert result.labels == (
        LabelShare(0, "background", "0", (VALUES == 0).sum() / n),
        LabelShare(1, "car", "8", 16 / n),
        LabelShare(2, "road", "3", 64 / n),
        LabelShare(3, "ignore", "200", 16 / n),
    )
    assert result.foreground_share == pytest.approx(80 / (n - 16))


def test_without_a_background_every_class_is_trained_and_scored(place):
    result = place.convert(labels=["field=0", *CLASSES[1:]], ignore=200)
    assert names(result) == {"background": 0, "field": 1, "road": 2, "car": 3, "ignore": 4}
    np.testing.assert_array_equal(written(result), LABELS + 1)
    (note,) = result.notes
    assert note.startswith("no class is called background: the classes are labels 1 to 3")
    assert (result.labels[0].value, result.labels[0].share, result.foreground_share) == (None, 0, 1)


def test_nnunet_evaluates_the_named_classes_and_ignores_the_rest(place):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    manager = LabelManager(names(place.convert(labels=["field=0", *CLASSES[1:]], ignore=200)), None)
    assert (manager.foreground_labels, manager.ignore_label, manager.num_segmentation_heads) == ([1, 2, 3], 4, 4)


def palette(indices: np.ndarray) -> Image.Image:
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    return image


@pytest.mark.parametrize(
    ("mask", "ending"),
    [
        (VALUES, ".bmp"),
        (VALUES.astype(np.uint16), ".png"),
        (VALUES.astype(np.uint16), ".tif"),
        (palette(VALUES), ".png"),
        (np.repeat(VALUES[..., None], 3, axis=2), ".png"),
        (np.dstack([VALUES, np.full(SIZE, 255, np.uint8)]), ".png"),
    ],
    ids=["bmp", "uint16", "uint16-tif", "palette", "rgb", "la"],
)
def test_encodings(place, mask, ending):
    place.every_mask(mask, ending)
    result = place.convert(labels=CLASSES, ignore=200)
    np.testing.assert_array_equal(written(result), LABELS)
    palettes = [note for note in result.notes if "palette" in note]
    expected = ["palette indices of 5 masks taken as values, whatever their colours"]
    assert palettes == (expected if isinstance(mask, Image.Image) else [])


def test_values_of_16_bits(place):
    deep = VALUES.astype(np.uint16) * 300
    place.every_mask(deep)
    result = place.convert(labels=["background=0", "road=900", "car=2400"], ignore=60000)
    np.testing.assert_array_equal(written(result), LABELS)


def test_as_many_classes_as_eight_bits_hold(place):
    place.every_mask(np.arange(256, dtype=np.uint8).reshape(16, 16)[: SIZE[0]])
    save(np.arange(255, 255 - 192, -1, dtype=np.uint8).reshape(SIZE), place.masks / "c1.png")
    labels = ["background=0", *(f"k{value}={value}" for value in range(1, 255))]
    result = place.convert(labels=labels, ignore=255)
    assert names(result)["ignore"] == 255
    assert written(result, "c1")[0, 0] == 255
    assert place.refused(labels=[f"k{value}={value}" for value in range(255)], overwrite=True).count("255 classes") == 1


def test_test_masks_hold_classes_as_well(place, tmp_path):
    save(np.full((*SIZE, 3), 77, np.uint8), tmp_path / "ti" / "t.png")
    save(VALUES, tmp_path / "tm" / "t.png")
    flags = {"test_images": tmp_path / "ti", "test_masks": tmp_path / "tm"}
    result = place.convert(labels=CLASSES, ignore=200, **flags)
    np.testing.assert_array_equal(written(result, "t", "Ts"), LABELS)
    save(VALUES + 1, tmp_path / "tm" / "t.png")
    assert "t.png holds 1" in place.refused(labels=CLASSES, ignore=200, overwrite=True, **flags)


def test_names_without_pixels_are_noted(place):
    result = place.convert(labels=[*CLASSES, "bus=9", "unlabelled=200", "left lane=10"], ignore=77)
    assert names(result)["left lane"] == 5
    assert any(note.startswith("classes in no training mask: bus=9 left lane=10.") for note in result.notes)
    assert "no training mask holds the value of --ignore 77" in result.notes


# ---------------------------------------------------------------------------------------------- binary, with ignore


@pytest.mark.parametrize(("foreground", "ignored"), [(255, 128), (1, 255), (1, 2), (255, 1)])
def test_binary_masks_with_a_value_to_ignore(place, foreground, ignored):
    mask = np.select([VALUES == 3, VALUES == 200], [foreground, ignored], 0).astype(np.uint8)
    place.every_mask(mask)
    result = place.convert(ignore=ignored)
    assert names(result) == {"background": 0, "foreground": 1, "ignore": 2}
    np.testing.assert_array_equal(written(result), np.select([VALUES == 3, VALUES == 200], [1, 2], 0))
    assert result.foreground_share == pytest.approx(64 / (VALUES.size - 16))
    assert [(label.name, label.value) for label in result.labels] == [
        ("background", None), ("foreground", None), ("ignore", str(ignored))
    ]  # fmt: skip


def test_threshold_with_a_value_to_ignore(place):
    result = place.convert(ignore=200, threshold=5)
    np.testing.assert_array_equal(written(result), np.select([VALUES == 8, VALUES == 200], [1, 2], 0))


def test_nothing_but_background_and_ignored(place):
    place.every_mask(np.where(VALUES == 3, 128, 0).astype(np.uint8))
    assert "all 5 training masks are background or ignored" in place.refused(ignore=128)


# ---------------------------------------------------------------------------------------------- what is refused


def test_unnamed_values_are_refused_with_what_to_type(place):
    spoiled = VALUES.copy()
    spoiled[0, :5] = 9
    save(spoiled, place.masks / "c3.png")
    message = place.refused(labels=CLASSES)
    assert "masks with values that --labels does not name (5):" in message
    assert "c1.png holds 200 (16 pixels)" in message
    assert "c3.png holds 200 (16 pixels), 9 (5 pixels)" in message
    assert message.count("  -> ") == 1
    assert "-> add to --labels, each with its class's name: class9=9 class200=200; or leave" in message
    assert message.endswith("--ignore 200")
    message = place.refused(labels=CLASSES, ignore=200)
    assert message.endswith("-> add to --labels, each with its class's name: class9=9")
    typed = [*CLASSES, "class9=9"]  # what the message says
    assert names(place.convert(labels=typed, ignore=200))["class9"] == 3


def test_masks_that_are_not_binary_are_refused_with_their_values_as_flags(place):
    save(np.minimum(VALUES, 1), place.masks / "c2.png")
    save(np.minimum(VALUES, 5), place.masks / "c3.png")
    message = place.refused()
    assert "masks that are not binary (4):" in message
    flags = message.rpartition("if each value is a class, name them all: --labels ")[2]
    assert flags == "background=0 class3=3 class5=5 class8=8 class200=200"
    assert "values that --labels does not name (1)" in place.refused(labels=flags.split())
    assert place.convert(labels=[*flags.split(), "class1=1"]).n_train == 5


def test_coloured_palettes_are_refused_with_their_indices_as_flags(place):
    place.every_mask(palette(VALUES))
    message = place.refused()
    flags = message.rpartition("name them all: --labels ")[2]
    assert flags == "background=0 class3=3 class8=8 class200=200"
    np.testing.assert_array_equal(written(place.convert(labels=flags.split())), LABELS)


def test_soft_masks_get_a_message_of_bounded_length(place):
    place.every_mask(np.arange(192, dtype=np.uint8).reshape(SIZE))
    for message in (place.refused(), place.refused(labels=CLASSES)):
        assert "(192 values)" in message or "(189 values)" in message
        assert len(message) < 3000


@pytest.mark.parametrize(
    ("labels", "options", "value", "remedy"),
    [
        (["road"], {}, "--labels 'road'; allowed is NAME=WHAT", "--labels background=0 road=3 car=8"),
        (["=3"], {}, "--labels '=3'", "type for example"),
        (["road=#12"], {}, "--labels road=#12: '#12'; allowed is NAME=WHAT", "type for example"),
        (["sky=0,road=3"], {}, "--labels sky=0,road=3: 'road=3'", "entries apart by spaces"),
        (["road =3"], {}, "--labels 'road =3'", "entries apart by spaces"),
        (["road=65536"], {}, "road=65536; allowed are values from 0 to 65535", "value that the class has"),
        (["road=-1"], {}, "road=-1; allowed are values from 0 to 65535", "value that the class has"),
        ([*CLASSES, "road=9"], {}, "--labels road=3 road=9", "a name of its own"),
        ([*CLASSES, "street=3"], {}, "--labels road=3 street=3", "keep one name for this value"),
        ([*CLASSES, "ignore=200"], {}, "--labels ignore=200; nnU-Net keeps this name", "pass --ignore 200 instead"),
        (["Background=0", "car=8"], {}, "Background=0; nnU-Net's name", "type background=0"),
        (["background=0"], {}, "--labels names background only", "type for example"),
        (CLASSES, {"threshold": 3}, "--threshold 3 makes binary masks", "leave --threshold away, or --labels"),
        (CLASSES, {"ignore": 3}, "--labels road=3 and --ignore 3", "leave road=3 or --ignore away"),
        (CLASSES, {"ignore": 65536}, "--ignore 65536; allowed are values from 0 to 65535", "unlabelled pixels"),
        (None, {"ignore": -1}, "--ignore -1; allowed are values from 0 to 65535", "unlabelled pixels"),
    ],
)
def test_flags_are_refused(place, labels, options, value, remedy):
    message = place.refused(labels=labels, **options)
    assert value in message
    assert remedy in message


def test_faults_of_flags_and_files_are_told_together(place):
    (place.masks / "c1.png").write_bytes(b"no image")
    save(VALUES[1:], place.masks / "c2.png")
    message = place.refused(labels=["road"])
    assert message.startswith("3 problems found")
    assert "c1.png" in message
    assert "16 x 11 (width x height)" in message


def test_coloured_masks_name_the_flag(place):
    save(np.dstack([VALUES, VALUES, VALUES * 0]), place.masks / "c1.png")
    assert "a value for each class (see --labels)" in place.refused(labels=CLASSES, ignore=200)


def test_a_mask_that_changes_after_the_check(place):
    def spoil(*call: object) -> None:
        if call == ("checked", 5, 5):
            save(VALUES + 1, place.masks / "c4.png")

    message = place.refused(labels=CLASSES, ignore=200, progress=spoil)
    assert "c4.png was changed or removed" in message
    assert "convert again" in message


# ---------------------------------------------------------------------------------------------- real data

CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]


def test_camvid(tmp_path, monkeypatch):
    from nnunetv2.experiment_planning import verify_dataset_integrity as host

    threads = SimpleNamespace(get_context=lambda _: multiprocessing.dummy)  # processes would take seconds to start
    monkeypatch.setattr(host, "multiprocessing", threads)
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("NNUNET_EXT_SHARED_DATA", default)) / "camvid"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; NNUNET_EXT_SHARED_DATA can name the folder that holds camvid")
    for image in sorted((folder / "images").iterdir())[:6]:
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / image.name).symlink_to((folder / kind / image.name).resolve())
    labels = [f"{name}={value}" for value, name in enumerate(CAMVID)]
    result = convert(
        tmp_path / "images",
        tmp_path / "masks",
        1,
        "CamVid",
        tmp_path / "raw",
        **with_options({"labels": labels, "ignore": 11}),
    )
    host.verify_dataset_integrity(str(result.dataset_folder), 1)
    for path in (tmp_path / "masks").iterdir():
        np.testing.assert_array_equal(written(result, path.stem), np.asarray(Image.open(path)) + 1)
