"""The converter of 2D image and mask pairs: what it writes, what it refuses, and that it leaves nothing half-done."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_conversion.conversion_flags import with_options
from PIL import Image, PngImagePlugin

from nnunet_ext.dataset_conversion import writing
from nnunet_ext.dataset_conversion.convert import ConversionError, ConversionResult, convert

SIZE = (32, 40)  # H, W
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, SIZE, dtype=np.uint8)
DISC = np.zeros(SIZE, np.uint8)
DISC[3:9, 4:10] = 1


def save(pixels: np.ndarray | Image.Image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


class Workplace:
    """Six good RGB pairs; tests spoil or exchange some of them."""

    def __init__(self, root: Path):
        self.images, self.masks, self.raw = root / "images", root / "masks", root / "raw"
        self.test_images, self.test_masks = root / "test_images", root / "test_masks"
        for index in range(6):
            save(np.roll(RGB, index), self.images / f"case{index}.png")
            save(DISC * 255, self.masks / f"case{index}.png")

    def add_test(self, masks: bool = True) -> None:
        for index in range(2):
            save(np.roll(RGB, index + 6), self.test_images / f"unseen{index}.png")
            if masks:
                save(DISC * 255, self.test_masks / f"unseen{index}.png")

    def every_mask(self, pixels: np.ndarray | Image.Image, **options) -> None:
        for path in self.masks.iterdir():
            save(pixels, path, **options)

    def every_image(self, pixels: np.ndarray, **options) -> None:
        """Write the pixels as images, each turned by a row more: the same picture twice would be a find."""
        for index, path in enumerate(sorted(self.images.iterdir())):
            save(np.roll(pixels, index, axis=0), path, **options)

    def convert(self, dataset_id: int = 501, name: str = "Discs", **options) -> ConversionResult:
        if self.test_images.exists():
            options.setdefault("test_images", self.test_images)
        if self.test_masks.exists():
            options.setdefault("test_masks", self.test_masks)
        return convert(self.images, self.masks, dataset_id, name, self.raw, **with_options(options))

    def refused(self, *args, **options) -> str:
        before = snapshot(self.raw)
        with pytest.raises(ConversionError) as caught:
            self.convert(*args, **options)
        assert snapshot(self.raw) == before
        return str(caught.value)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


# ---------------------------------------------------------------------------------------------- what is written


def test_writes_nnunet_raw_format(place):
    place.add_test()
    sources = snapshot(place.raw.parent)
    result = place.convert()
    folder = place.raw / "Dataset501_Discs"
    assert result == ConversionResult(folder, 6, 2, 2, "RGB", DISC.mean(), (), n_reused=(8, 0))
    assert sorted(p.name for p in folder.iterdir()) == [
        *("cases.csv", "dataset.json", "imagesTr", "imagesTs", "labelsTr", "labelsTs", "splits_final.json")
    ]
    assert sorted(p.name for p in (folder / "imagesTs").iterdir()) == ["unseen0_0000.png", "unseen1_0000.png"]
    for index in range(6):
        np.testing.assert_array_equal(pixels(folder / f"imagesTr/case{index}_0000.png"), np.roll(RGB, index))
        label = pixels(folder / f"labelsTr/case{index}.png")
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, DISC)
    meta = json.loads((folder / "dataset.json").read_text())
    assert meta["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert meta["labels"] == {"background": 0, "foreground": 1}
    assert (meta["numTraining"], meta["file_ending"], meta["name"]) == (6, ".png", "Discs")
    assert [p.name for p in place.raw.iterdir()] == ["Dataset501_Discs"]
    assert {k: v for k, v in snapshot(place.raw.parent).items() if not k.startswith("raw")} == sources


def test_test_images_without_masks(place):
    place.add_test(masks=False)
    result = place.convert()
    assert (result.n_test, result.n_test_labels) == (2, 0)
    assert not (result.dataset_folder / "labelsTs").exists()


@pytest.mark.parametrize(("image", "channels"), [(RGB, 3), (GREY, 1), (GREY.astype(np.uint16) * 257, 1)])
def test_round_trip_through_nnunet_reader(place, image, channels):
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

    place.every_image(image)
    folder = place.convert().dataset_folder
    read, _ = NaturalImage2DIO().read_images((str(folder / "imagesTr/case0_0000.png"),))
    assert read.shape == (channels, 1, *SIZE)
    expected = image.transpose(2, 0, 1) if image.ndim == 3 else image[None]
    np.testing.assert_array_equal(read[:, 0], expected.astype(np.float32))
    label, _ = NaturalImage2DIO().read_seg(str(folder / "labelsTr/case0.png"))
    assert label.shape == (1, 1, *SIZE)
    np.testing.assert_array_equal(label[0, 0], DISC)


def test_nnunet_lists_the_cases_and_ignores_temporary_folders(place):
    from batchgenerators.utilities.file_and_folder_operations import subdirs
    from nnunetv2.utilities.utils import get_identifiers_from_splitted_dataset_folder

    for path in [*place.images.iterdir(), *place.masks.iterdir()]:
        path.rename(path.with_name(f"a b.{path.stem}_0007.png"))
    folder = place.convert().dataset_folder
    (place.raw / ".Dataset501_Discs.tmp-1-abc").mkdir()
    listed = get_identifiers_from_splitted_dataset_folder(str(folder / "imagesTr"), ".png")
    assert list(listed) == [f"a b.case{i}_0007" for i in range(6)]
    assert subdirs(str(place.raw), prefix="Dataset501", join=False) == ["Dataset501_Discs"]


def test_grey_images(place):
    place.every_image(GREY)
    result = place.convert()
    assert (result.image_mode, result.notes) == ("L", ())
    meta = json.loads((result.dataset_folder / "dataset.json").read_text())
    assert meta["channel_names"] == {"0": "grey"}
    np.testing.assert_array_equal(pixels(result.dataset_folder / "imagesTr/case0_0000.png"), GREY)


def test_16_bit_grey_stays_16_bit(place):
    deep = GREY.astype(np.uint16) * 200 + 7
    place.every_image(deep)
    result = place.convert()
    written = pixels(result.dataset_folder / "imagesTr/case0_0000.png")
    assert (result.image_mode, written.dtype) == ("I;16", np.uint16)
    np.testing.assert_array_equal(written, deep)


def test_rgb_with_equal_channels_stays_rgb(place):
    place.every_image(np.repeat(GREY[..., None], 3, axis=2))
    assert place.convert().image_mode == "RGB"


@pytest.mark.parametrize(
    ("image", "expected", "note"),
    [
        (np.dstack([RGB, np.full(SIZE, 255, np.uint8)]), RGB, "opaque alpha channel dropped from 1 image"),
        (Image.fromarray(RGB).quantize(16), None, "palette of 1 image replaced by its RGB colours"),
        (GREY, np.repeat(GREY[..., None], 3, 2), "1 grey image written as RGB, as the data set holds colour images"),
        (DISC > 0, np.repeat(DISC[..., None] * 255, 3, 2), "1 image with 1 bit written as 8-bit grey (0 and 255)"),
    ],
)
def test_colour_modes_become_rgb_with_a_note(place, image, expected, note):
    save(image, place.images / "case2.png")
    if expected is None:
        expected = np.asarray(image.convert("RGB"))
    result = place.convert()
    assert result.image_mode == "RGB"
    assert note in result.notes
    np.testing.assert_array_equal(pixels(result.dataset_folder / "imagesTr/case2_0000.png"), expected)


@pytest.mark.parametrize("ending", [".bmp", ".tif", ".tiff", ".jpg", ".JPEG"])
def test_other_formats_keep_their_decoded_pixels(place, ending):
    (place.images / "case0.png").unlink()
    source = save(RGB, place.images / f"case0{ending}")
    folder = place.convert().dataset_folder
    np.testing.assert_array_equal(pixels(folder / "imagesTr/case0_0000.png"), pixels(source))


def palette_mask(colours: list[tuple[int, int, int]], indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([value for colour in colours for value in colour])
    return image


@pytest.mark.parametrize(
    "mask",
    [
        DISC,
        DISC * 255,
        DISC > 0,
        np.repeat(DISC[..., None] * 255, 3, axis=2),
        np.dstack([DISC, DISC, DISC, np.full(SIZE, 255, np.uint8)]),
        np.dstack([DISC * 255, np.full(SIZE, 255, np.uint8)]),
        DISC.astype(np.uint16),
        palette_mask([(0, 0, 0), (255, 255, 255)], DISC),
        palette_mask([(0, 0, 0), (128, 0, 0)], DISC),
        palette_mask([(9, 9, 9), (0, 0, 0), (255, 255, 255)], DISC + 1),
    ],
    ids=["01", "0255", "1bit", "rgb", "rgba01", "la", "uint16", "P-bw", "P-red", "P-grey"],
)
def test_mask_encodings(place, mask):
    place.every_mask(mask)
    result = place.convert()
    np.testing.assert_array_equal(pixels(result.dataset_folder / "labelsTr/case0.png"), DISC)
    assert result.foreground_share == pytest.approx(DISC.mean())


def test_mixed_encodings_and_empty_masks_are_noted(place):
    save(DISC, place.masks / "case0.png")
    save(DISC * 0, place.masks / "case1.png")
    notes = place.convert().notes
    assert "masks use two encodings, each file mapped by its own values: 0/1 in 1, 0/255 in 4" in notes
    assert "1 training mask without foreground" in notes


def test_threshold_makes_masks_binary_and_is_noted(place):
    soft = DISC * 255
    soft[3, 4:8] = (128, 127, 254, 3)
    save(soft, place.masks / "case0.png")
    result = place.convert(threshold=127)
    expected = DISC.copy()
    expected[3, 5] = expected[3, 7] = 0
    np.testing.assert_array_equal(pixels(result.dataset_folder / "labelsTr/case0.png"), expected)
    np.testing.assert_array_equal(pixels(result.dataset_folder / "labelsTr/case1.png"), DISC)
    assert "masks thresholded at > 127: 4 pixels in 1 mask were not 0, 1 or 255" in result.notes


def test_threshold_zero_takes_instances_as_foreground(place):
    place.every_mask((DISC * 40).astype(np.uint16) * 10)
    folder = place.convert(threshold=0).dataset_folder
    np.testing.assert_array_equal(pixels(folder / "labelsTr/case0.png"), DISC)


def test_pairs_by_name_not_by_position(place):
    for index in range(6):
        save(np.roll(DISC, index) * 255, place.masks / f"{9 - index}x_m.png")
        (place.masks / f"case{index}.png").unlink()
        (place.images / f"case{index}.png").rename(place.images / f"{9 - index}x_im.png")
    folder = place.convert(image_suffix="_im", mask_suffix="_m").dataset_folder
    for index in range(6):
        np.testing.assert_array_equal(pixels(folder / f"imagesTr/{9 - index}x_0000.png"), np.roll(RGB, index))
        np.testing.assert_array_equal(pixels(folder / f"labelsTr/{9 - index}x.png"), np.roll(DISC, index))


def test_images_and_masks_in_one_folder(place):
    for path in list(place.masks.iterdir()):
        path.rename(place.images / f"{path.stem}_mask.png")
    place.masks = place.images
    assert place.convert(mask_suffix="_mask").n_train == 6


def test_other_files_are_skipped_with_a_note(place):
    (place.images / "Thumbs.db").write_bytes(b"x")
    (place.images / ".DS_Store").write_bytes(b"x")
    assert place.convert().notes == (f"skipped 1 file (.db) in {place.images}: not an image format",)


def test_progress_is_told(place):
    told: list[str] = []
    place.convert(progress=lambda *call: told.append("{} {} of {} cases".format(*call)))
    assert told[5] == "checked 6 of 6 cases"
    assert told[-1] == "wrote 6 of 6 cases"


# ---------------------------------------------------------------------------------------------- what is refused


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def tiff_with_empty_second_page(path: Path) -> None:
    data = bytearray(save(RGB, path.with_suffix(".tif")).read_bytes())
    directory = int.from_bytes(data[4:8], "little")
    n_tags = int.from_bytes(data[directory : directory + 2], "little")
    pointer = directory + 2 + 12 * n_tags
    data[pointer : pointer + 4] = len(data).to_bytes(4, "little")
    path.with_suffix(".tif").write_bytes(data + bytes(6))
    path.unlink()


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(RGB, path, exif=exif)


def wide_png(path: Path) -> None:
    """A PNG with 16 bits a colour channel, which Pillow cannot write itself."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def transparent(path: Path) -> None:
    save(np.dstack([RGB, GREY // 2]), path)


def keyed(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    image = Image.fromarray(GREY)
    image.info["transparency"] = int(GREY[0, 0])
    image.save(path, pnginfo=info, transparency=int(GREY[0, 0]))


def two_pages(path: Path) -> None:
    path.unlink()
    Image.fromarray(RGB).save(path.with_suffix(".tif"), save_all=True, append_images=[Image.fromarray(RGB)])


def soft(path: Path) -> None:
    values = DISC * 255
    values[0, :10] = range(10, 110, 10)
    save(values, path)


def inverted_palette(path: Path) -> None:
    save(palette_mask([(255, 255, 255), (0, 0, 0)], 1 - DISC), path)


def red_first(path: Path) -> None:
    """What quantising a red object on black gives: the object is index 0."""
    save(palette_mask([(200, 10, 10), (0, 0, 0)], 1 - DISC), path)


def coloured(path: Path) -> None:
    save(DISC[..., None] * np.array([200, 0, 0], np.uint8), path)


def as_jpeg(path: Path) -> None:
    path.unlink()
    save(DISC * 255, path.with_suffix(".jpg"))


def disguised_jpeg(path: Path) -> None:
    save(DISC * 255, path, format="JPEG")


FILE_FAULTS: list[tuple[str, Callable[[Path], object], str, str, str]] = [
    ("images", truncate, "case3.png", "truncated", "copy or export these files again"),
    ("masks", truncate, "case3.png", "truncated", "copy or export these files again"),
    ("images", lambda p: p.write_bytes(b"none"), "case3.png", "cannot identify", "copy or export these files again"),
    ("images", tiff_with_empty_second_page, "case3.tif", "Missing dimensions", "copy or export these files again"),
    ("images", rotated, "case3.png", "EXIF orientation 6; allowed is 1", "pass --exif turn"),
    ("masks", rotated, "case3.png", "EXIF orientation 6; allowed is 1", "pass --exif turn"),
    ("images", wide_png, "case3.png", "is 16-bit RGB", "same number of bits"),
    ("images", transparent, "case3.png", "alpha goes from 0 to 127; allowed is 255", "export without alpha"),
    ("images", keyed, "case3.png", "alpha goes from 0 to 255; allowed is 255", "export without alpha"),
    ("masks", lambda p: save(np.dstack([DISC, GREY]), p), "case3.png", "alpha goes from", "export without alpha"),
    ("images", two_pages, "case3.tif", "has 2 pages; allowed is 1", "export one page a file"),
    (
        "images",
        lambda p: save(Image.new("F", (16, 12)), p, format="TIFF"),
        "case3.png",
        "is float grey",
        "same number of bits",
    ),
    ("images", lambda p: save(GREY.astype(np.uint16), p), "case3.png", "16-bit grey", "same number of bits"),
    ("images", lambda p: save(RGB[:7, :9], p), "case3.png", "9 x 7; allowed is at least 8 x 8", "remove these pairs"),
    ("masks", lambda p: save(DISC[:, 1:], p), "case3.png", "39 x 32 (width x height)", "at the same size"),
    ("masks", soft, "case3.png", "255 (36 pixels), 10 (1 pixels)", "pass --threshold 127"),
    ("masks", lambda p: save(DISC + 1, p), "case3.png", "allowed are 0 and 1, or 0 and 255", "--threshold 127"),
    ("masks", lambda p: save(Image.new("F", (16, 12)), p, format="TIFF"), "case3.png", "mode 'F'; allowed", "8-bit"),
    ("masks", red_first, "case3.png", "index 0 is #c80a0a, brighter than index 1", "--labels background=#rrggbb"),
    ("masks", coloured, "case3.png", "36 pixels are not grey, such as RGB (200, 0, 0)", "black and white masks"),
    ("masks", inverted_palette, "case3.png", "index 0 is #ffffff, brighter than index 1", "without a palette"),
    (
        "masks",
        lambda p: save(palette_mask([(0, 0, 0)] * 5 + [(9, 0, 0)], DISC * 5), p),
        "case3.png",
        "index 5 has the colour RGB (9, 0, 0)",
        "without a palette",
    ),
    (
        "masks",
        as_jpeg,
        "case3.jpg",
        "is a JPEG; allowed are PNG, BMP, TIFF, GIF and PPM",
        "export the masks again as PNG",
    ),
    (
        "masks",
        disguised_jpeg,
        "case3.png",
        "is a JPEG; allowed are PNG, BMP, TIFF, GIF and PPM",
        "need --threshold 127",
    ),
    ("masks", lambda p: p.rename(p.with_suffix(".webp")), "case3.webp", "allowed are PNG, BMP, TIFF", "to PNG"),
    ("images", lambda p: p.rename(p.with_suffix(".webp")), "case3.webp", "allowed are PNG, BMP, TIFF", "to PNG"),
    ("masks", lambda p: p.unlink(), "case3.png", "no mask with the stem 'case3'", "--mask-suffix"),
    ("images", lambda p: p.unlink(), "case3.png", "no image with the stem 'case3'", "add the missing files"),
    ("masks", lambda p: p.rename(p.with_name("cas3.png")), "case3.png", "(nearest: cas3", "--mask-suffix"),
    ("images", lambda p: save(RGB, p.with_suffix(".jpg")), "case3.jpg", "several image files", "keep one file"),
    ("masks", lambda p: save(DISC, p.with_suffix(".bmp")), "case3.bmp", "several mask files", "keep one file"),
]


@pytest.mark.parametrize(("side", "spoil", "file", "value", "remedy"), FILE_FAULTS)
def test_file_faults_are_refused(place, side, spoil, file, value, remedy):
    spoil(getattr(place, side) / "case3.png")
    message = place.refused()
    assert file in message
    assert value in message
    assert remedy in message
    assert "nothing was written" in message


@pytest.mark.parametrize(
    ("stem", "value"),
    [("bad_seg", "ends in '_seg'"), ("a\nb", "cannot be printed"), ("n" * 245, "longer than 240 bytes")],
)
def test_names_that_nnunet_cannot_use(place, stem, value):
    for side in (place.images, place.masks):
        (side / "case3.png").rename(side / f"{stem}.png")
    message = place.refused()
    assert value in message
    assert repr(stem)[1:-1] in message
    assert "rename these images and their masks" in message


def test_empty_case_name(place):
    for side in (place.images, place.masks):
        for path in list(side.iterdir()):
            path.rename(side / f"{path.stem}_x.png")
        (side / "case3_x.png").rename(side / "_x.png")
    message = place.refused(image_suffix="_x", mask_suffix="_x")
    assert "_x.png: case name '' is empty once the suffix is taken off" in message


def test_names_that_differ_only_in_case(place):
    if (place.images / "CASE0.png").exists():
        pytest.skip("this file system does not tell upper and lower case apart")
    for side, content in ((place.images, RGB), (place.masks, DISC)):
        save(content, side / "Case0.png")
    message = place.refused()
    assert f"Case0.png and {place.images / 'case0.png'}" in message
    assert "rename one of them" in message


@pytest.mark.parametrize(
    ("arguments", "value", "remedy"),
    [
        ({"dataset_id": 0}, "-d 0; allowed are 1 to 999", "-d 501"),
        ({"dataset_id": 1000}, "-d 1000; allowed are 1 to 999", "-d 501"),
        ({"name": "my discs"}, "-n 'my discs'; allowed are letters", "-n my_discs"),
        ({"name": "a__b"}, "-n 'a__b'", "-n a_b"),
        ({"name": ""}, "-n ''", "-n MyDataset"),
        ({"threshold": 255}, "--threshold 255; allowed are 0 to 254", "--threshold 127"),
        ({"threshold": -1}, "--threshold -1; allowed are 0 to 254", "--threshold 127"),
        ({"mask_suffix": "_m.png"}, "--mask-suffix _m.png", "--mask-suffix _m"),
        ({"mask_suffix": "_m"}, "case0.png: the stem 'case0' does not end in '_m'", "correct --mask-suffix"),
        ({"image_suffix": "_i"}, "case0.png: the stem 'case0' does not end in '_i'", "correct --image-suffix"),
        ({"test_masks": Path("nowhere")}, "--test-masks nowhere", "with --test-images"),
        ({"test_images": Path("nowhere")}, "nowhere (--test-images) does not exist", "path after --test-images"),
    ],
)
def test_flags_are_refused(place, arguments, value, remedy):
    message = place.refused(**arguments)
    assert value in message
    assert remedy in message


def test_folders_are_refused(place, tmp_path):
    (tmp_path / "empty").mkdir()
    place.images, place.masks = tmp_path / "empty", tmp_path / "masks" / "case0.png"
    message = place.refused()
    assert f"{place.images} (-i) holds no file that ends in .png" in message
    assert f"{place.masks} (-m) is not a folder" in message
    assert "name the folder that holds the images directly" in message
    place.masks = place.images
    assert "cannot be told apart" in place.refused()


def test_output_folder_that_is_a_file(place):
    place.raw.write_text("x")
    with pytest.raises(ConversionError, match="raw is a file; allowed is a folder"):
        place.convert()


def test_mask_suffix_is_found(place):
    for path in list(place.masks.iterdir()):
        path.rename(path.with_name(f"{path.stem}_GT.png"))
    message = place.refused()
    assert message.count("pass --mask-suffix _GT (6 of 6 names") == 2
    assert place.convert(mask_suffix="_GT").n_train == 6


def test_all_problems_are_listed_and_long_lists_are_cut(place):
    for index in range(6, 20):
        save(RGB, place.images / f"case{index:02d}.png")
    rotated(place.images / "case0.png")
    message = place.refused(dataset_id=0)
    assert message.startswith("16 problems found, nothing was written.")
    assert "images without a mask (14):" in message
    assert "... and 6 more" in message
    assert "EXIF orientation 6" in message
    assert "-d 0" in message


def test_too_few_pairs(place):
    for side in (place.images, place.masks):
        for index in (1, 2):
            (side / f"case{index}.png").unlink()
    message = place.refused()
    assert "4 training cases for 5 folds (--folds)" in message
    assert "pass --folds 4" in message
    assert len(json.loads((place.convert(folds=4).dataset_folder / "splits_final.json").read_text())) == 4


@pytest.mark.parametrize(("threshold", "remedy"), [(None, "-m names the right folder"), (200, "lower --threshold 200")])
def test_all_masks_empty(place, threshold, remedy):
    place.every_mask(DISC * (0 if threshold is None else 128))
    message = place.refused(threshold=threshold)
    assert "all 6 training masks are background" in message
    assert "case0.png" in message
    assert remedy in message


def test_threshold_that_would_empty_label_masks(place):
    save(DISC, place.masks / "case0.png")
    message = place.refused(threshold=127)
    assert "case0.png holds only 0 and 1, so --threshold 127 leaves no foreground" in message
    assert "multiply these masks by 255" in message


def test_same_case_in_training_and_test(place):
    place.add_test()
    for side, content in ((place.test_images, RGB), (place.test_masks, DISC)):
        save(content, side / "case3.png")
    message = place.refused()
    assert f"{place.images / 'case3.png'} and {place.test_images / 'case3.png'}: both are case 'case3'" in message
    assert "remove the file from one part" in message


def test_id_in_use(place):
    (place.raw / "Dataset501_Other").mkdir(parents=True)
    (place.raw / "Dataset502_More").mkdir()
    message = place.refused()
    assert f"-d 501: {place.raw / 'Dataset501_Other'} exists" in message
    assert "-d 503" in message
    assert "--overwrite" not in message
    assert "Dataset501_Other" in place.refused(overwrite=True)


def test_sources_inside_the_target(place):
    target = place.raw / "Dataset501_Discs"
    place.raw.mkdir()
    target.mkdir()
    place.images = place.images.rename(target / "images")
    assert f"{target / 'images'} lies in {target}" in place.refused(overwrite=True)


# ---------------------------------------------------------------------------------------------- nothing half-done


def test_a_second_run_changes_nothing(place):
    place.add_test()
    folder = place.convert().dataset_folder
    before, times = snapshot(place.raw), {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert place.convert().unchanged
    assert snapshot(place.raw) == before
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == times


@pytest.mark.parametrize("change", ["flag", "image", "mask", "file lost", "file more"])
def test_overwrite_is_asked_for_and_replaces(place, change):
    folder = place.convert().dataset_folder
    options = {"seed": 7} if change == "flag" else {}
    if change == "image":
        save(RGB[::-1], place.images / "case0.png")
    elif change == "mask":
        save(DISC, place.masks / "case0.png")
    elif change == "file lost":
        (folder / "labelsTr" / "case1.png").unlink()
    elif change == "file more":
        (folder / "labelsTr" / "old.png").write_text("x")
    message = place.refused(**options)
    assert "Dataset501_Discs exists" in message
    assert "--overwrite" in message
    result = place.convert(overwrite=True, **options)
    assert not (folder / "labelsTr" / "old.png").exists()
    assert (folder / "labelsTr" / "case1.png").exists()
    assert any(note.startswith("replaced the old Dataset501_Discs") for note in result.notes)
    assert os.listdir(place.raw) == ["Dataset501_Discs"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_interrupted_conversion_leaves_the_old_state(place, monkeypatch, error, overwrite):
    if overwrite:
        place.convert()
    before = snapshot(place.raw)

    def stop(*call: object) -> None:
        if call == ("wrote", 3, 6):
            assert any(p.name.startswith(".Dataset501_Discs.tmp-") for p in place.raw.iterdir())
            raise error

    with pytest.raises(error):
        place.convert(overwrite=overwrite, progress=stop)
    assert snapshot(place.raw) == before


def test_failed_rename_brings_the_old_data_set_back(place, monkeypatch):
    place.convert()
    before = snapshot(place.raw)
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if ".tmp-" in str(source):
            raise OSError("no rename today")
        rename(source, target)

    monkeypatch.setattr(writing.os, "rename", failing)
    with pytest.raises(OSError, match="no rename today"):
        place.convert(overwrite=True)
    assert snapshot(place.raw) == before


def test_refused_overwrite_keeps_the_old_data_set(place):
    place.convert()
    truncate(place.images / "case0.png")
    assert "truncated" in place.refused(overwrite=True)


def test_file_that_changes_after_the_check(place):
    def spoil(*call: object) -> None:
        if call == ("checked", 6, 6):
            truncate(place.images / "case5.png")

    assert "case5.png" in place.refused(progress=spoil)


def test_symlinked_old_data_set_is_replaced_and_its_content_kept(place, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "old").write_text("x")
    place.raw.mkdir()
    (place.raw / "Dataset501_Discs").symlink_to(tmp_path / "elsewhere")
    folder = place.convert(overwrite=True).dataset_folder
    assert not folder.is_symlink()
    assert (tmp_path / "elsewhere" / "old").exists()
    assert os.listdir(place.raw) == ["Dataset501_Discs"]


# ---------------------------------------------------------------------------------------------- real data


def shared_data(dataset: str) -> Path:
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("NNUNET_EXT_SHARED_DATA", default)) / dataset
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; NNUNET_EXT_SHARED_DATA can name the folder that holds {dataset}")
    return folder


@pytest.mark.parametrize(
    ("dataset", "mask_suffix", "note"),
    [("dsb2018", "", "opaque alpha channel dropped from 8 images"), ("chase_db1", "_1stHO", None)],
)
def test_real_data(tmp_path, dataset, mask_suffix, note):
    folder = shared_data(dataset)
    for image in sorted((folder / "images").iterdir(), key=lambda p: (p.stat().st_size, p.name))[:8]:
        mask = folder / "masks" / f"{image.stem}{mask_suffix}.png"
        for kind, source in (("images", image), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / source.name).symlink_to(source.resolve())
    result = convert(tmp_path / "images", tmp_path / "masks", 1, dataset, tmp_path / "raw", mask_suffix=mask_suffix)
    assert (result.n_train, result.image_mode) == (8, "RGB")
    assert result.notes == (() if note is None else (note,))
    assert 0 < result.foreground_share < 0.5
