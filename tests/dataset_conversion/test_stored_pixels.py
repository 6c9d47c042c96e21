"""Pixels reach nnU-Net as the file has them: EXIF orientation, 16 bits a channel, PNM ranges, files taken over."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dataset_conversion.conversion_flags import with_options
from dataset_conversion.png_files import deep_png
from PIL import Image, ImageOps

from nnunet_ext.dataset_conversion.convert import ConversionError, convert
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import Reading, read_image
from nnunet_ext.dataset_conversion.problems import RefusedFile

SIZE = (16, 20)  # H, W
RGB = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
DEEP = RGB.astype(np.uint16) * 257 + 3
CORNER = np.zeros(SIZE, np.uint8)
CORNER[1:4, 2:9] = 1
ORIENTATION = 0x0112


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def refusal(path: Path, **rules) -> str:
    with pytest.raises(RefusedFile) as caught:
        read_image(path, Reading(**rules))
    return caught.value.problem.code


def pairs(root: Path, save_image, save_mask=None, n: int = 5) -> None:
    (root / "i").mkdir()
    (root / "m").mkdir()
    for index in range(n):
        save_image(index, root / "i")
        if save_mask is None:
            Image.fromarray(CORNER).save(root / "m" / f"c{index}.png")
        else:
            save_mask(index, root / "m")


def converted(root: Path, **options):
    return convert(root / "i", root / "m", 5, "Pixels", root / "raw", **with_options(options))


def nnunets_image(folder: Path, case: str = "c0") -> np.ndarray:
    """(C, H, W) as nnU-Net reads it."""
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

    ending = json.loads((folder / "dataset.json").read_text())["file_ending"]
    return NaturalImage2DIO().read_images((str(folder / "imagesTr" / f"{case}_0000{ending}"),))[0][:, 0]


def nnunets_labels(folder: Path, case: str = "c0") -> np.ndarray:
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

    ending = json.loads((folder / "dataset.json").read_text())["file_ending"]
    return NaturalImage2DIO().read_seg(str(folder / "labelsTr" / f"{case}{ending}"))[0][0, 0]


# ---------------------------------------------------------------------------------------------- EXIF orientation


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "deep png", "deep tif"])
def test_pixels_are_turned_as_viewers_do(tmp_path, kind, orientation):
    path = tmp_path / f"a.{kind[-3:]}"
    if kind == "deep png":
        deep_png(path, RGB, orientation)
    elif kind == "deep tif":
        tag = (ORIENTATION, "H", 1, orientation, True)
        tifffile.imwrite(path, RGB.astype(np.uint16), photometric="rgb", extratags=[tag])
    else:
        Image.fromarray(RGB).save(path, exif=with_orientation(orientation))
    shown = Image.fromarray(RGB)
    shown.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(shown))
    assert expected.shape == ((*SIZE, 3) if orientation < 5 else (*SIZE[::-1], 3))
    np.testing.assert_array_equal(read_image(path, Reading(exif="turn")).pixels, expected)
    np.testing.assert_array_equal(read_image(path, Reading(exif="ignore")).pixels, RGB)
    assert refusal(path) == "exif-orientation"


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_orientations_that_mean_nothing_are_no_problem(tmp_path, orientation):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=with_orientation(orientation))
    decoded = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.as_is


@pytest.mark.parametrize("rule", ["turn", "ignore"])
def test_turned_files_are_never_copied_as_they_are(tmp_path, rule):
    """Image and mask are PNG files that could be copied but for their orientation."""
    exif = with_orientation(6)
    pairs(
        tmp_path,
        lambda i, folder: Image.fromarray(np.roll(RGB, i, 0)).save(folder / f"c{i}.png", exif=exif),
        lambda i, folder: Image.fromarray(CORNER).save(folder / f"c{i}.png", exif=exif),
    )
    with pytest.raises(ConversionError, match="pass --exif turn"):
        converted(tmp_path)
    result = converted(tmp_path, exif=rule)
    image, labels = nnunets_image(result.dataset_folder), nnunets_labels(result.dataset_folder)
    turned = rule == "turn"
    np.testing.assert_array_equal(image, (np.rot90(RGB, -1) if turned else RGB).transpose(2, 0, 1))
    np.testing.assert_array_equal(labels, np.rot90(CORNER, -1) if turned else CORNER)
    assert result.n_reused == (0, 0)
    for path in result.dataset_folder.rglob("*.png"):
        with Image.open(path) as written:
            assert ORIENTATION not in written.getexif()


def test_plain_files_are_still_copied_under_exif_turn(tmp_path):
    pairs(tmp_path, lambda i, folder: Image.fromarray(np.roll(RGB, i, 0)).save(folder / f"c{i}.png"))
    assert converted(tmp_path, exif="turn").n_reused == (5, 5)


def test_a_turned_image_no_longer_fits_its_unturned_mask(tmp_path):
    exif = with_orientation(6)
    pairs(tmp_path, lambda i, folder: Image.fromarray(np.roll(RGB, i, 0)).save(folder / f"c{i}.png", exif=exif))
    with pytest.raises(ConversionError, match="lies on its side"):
        converted(tmp_path, exif="turn")
    assert converted(tmp_path, exif="ignore").n_train == 5


# ---------------------------------------------------------------------------------------------- 16 bits and floats


@pytest.mark.parametrize("kind", ["png", "tif", "compressed tif", "planar tif"])
def test_16_bit_colour_reaches_nnunet_whole(tmp_path, kind):
    def save(index: int, folder: Path) -> None:
        pixels = np.roll(DEEP, index, 0)
        if kind == "png":
            return deep_png(folder / f"c{index}.png", pixels)
        planar = {"planarconfig": "separate"} if kind == "planar tif" else {}
        compression = "zlib" if kind == "compressed tif" else None
        stored = pixels.transpose(2, 0, 1) if planar else pixels
        return tifffile.imwrite(
            folder / f"c{index}.tif", stored, photometric="rgb", compression=compression, **planar
        )  # fmt: skip

    pairs(tmp_path, save)
    result = converted(tmp_path)
    assert result.image_mode == "RGB;16"
    np.testing.assert_array_equal(nnunets_image(result.dataset_folder), DEEP.transpose(2, 0, 1).astype(np.float32))
    np.testing.assert_array_equal(nnunets_labels(result.dataset_folder), CORNER)


def test_16_bit_grey_among_16_bit_colour_is_repeated(tmp_path):
    pairs(tmp_path, lambda i, folder: deep_png(folder / f"c{i}.png", np.roll(DEEP, i, 0)))
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "i" / "c0.png")
    result = converted(tmp_path)
    np.testing.assert_array_equal(nnunets_image(result.dataset_folder), np.stack([DEEP[..., 0]] * 3).astype(np.float32))
    assert "1 grey image written as RGB, as the data set holds colour images" in result.notes


def test_float_images_reach_nnunet_whole(tmp_path):
    floats = np.random.default_rng(2).normal(size=(5, *SIZE)).astype(np.float32)
    pairs(tmp_path, lambda i, folder: tifffile.imwrite(folder / f"c{i}.tif", floats[i]))
    result = converted(tmp_path)
    assert result.image_mode == "F"
    np.testing.assert_array_equal(nnunets_image(result.dataset_folder)[0], floats[0])
    np.testing.assert_array_equal(nnunets_labels(result.dataset_folder), CORNER)


def test_32_bit_integers_are_written_only_if_floats_hold_them(tmp_path):
    values = np.arange(SIZE[0] * SIZE[1], dtype=np.int32).reshape(SIZE) * 1000 - 5
    tifffile.imwrite(tmp_path / "a.tif", values)
    decoded = read_image(tmp_path / "a.tif")
    assert (decoded.mode, decoded.pixels.dtype) == ("F", np.float32)
    np.testing.assert_array_equal(decoded.pixels, values)
    tifffile.imwrite(tmp_path / "b.tif", values + (1 << 25) + 2)
    assert refusal(tmp_path / "b.tif") == "pixel-type"


@pytest.mark.parametrize("cut", [20, 300, 900])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_truncated_16_bit_colour(tmp_path, cut, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "png":
        deep_png(path, DEEP)
    else:
        tifffile.imwrite(path, DEEP, photometric="rgb")
    path.write_bytes(path.read_bytes()[:-cut])
    assert refusal(path) == "unreadable"


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bits_with_alpha_are_refused(tmp_path, channels):
    deep_png(tmp_path / "a.png", np.dstack([DEEP, DEEP])[..., :channels])
    assert refusal(tmp_path / "a.png") == "16-bit-colour"


# ---------------------------------------------------------------------------------------------- values as stored


@pytest.mark.parametrize("most", [1, 20, 254, 255, 256, 4095, 65535])
def test_pgm_values_are_not_stretched_to_the_full_range(tmp_path, most):
    values = (np.arange(SIZE[0] * SIZE[1]) % (most + 1)).reshape(SIZE)
    stored = values.astype(np.uint8 if most < 256 else ">u2").tobytes()
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 %d %d %d\n" % (SIZE[1], SIZE[0], most) + stored)
    decoded = read_image(path)
    assert decoded.mode == ("L" if most < 256 else "I;16")
    np.testing.assert_array_equal(decoded.pixels, values)


def test_pgm_masks_hold_the_classes_that_were_stored(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 4 2 3\n" + bytes([0, 1, 2, 3, 3, 2, 1, 0]))
    legend = legend_from_flags(["background=0", "a=1", "b=2,3"], None, None, [])
    np.testing.assert_array_equal(MaskFile(path).read(legend, (2, 4)).labels, [[0, 1, 2, 2], [2, 2, 1, 0]])


def test_16_bit_masks_are_not_clipped_to_colours(tmp_path):
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(tmp_path / "a.png")
    legend = legend_from_flags(["background=#000000", "white=#ffffff"], None, None, [])
    with pytest.raises(RefusedFile, match="Pillow mode 'I;16'; allowed are 1, L, LA, P, RGB, RGBA"):
        MaskFile(tmp_path / "a.png").read(legend, SIZE)


def test_a_key_colour_keeps_a_file_from_being_copied(tmp_path):
    """Value 0 as the transparent one: `transparency` is 0, which is false."""
    Image.fromarray(CORNER).save(tmp_path / "a.png", transparency=0)
    legend = legend_from_flags(None, None, None, [])
    mask = MaskFile(tmp_path / "a.png").read(legend, SIZE)
    np.testing.assert_array_equal(mask.labels, CORNER)
    assert not mask.as_is


@pytest.mark.parametrize("ending", [".PNG", ".Tif", ".JPG"])
def test_endings_in_capitals(tmp_path, ending):
    pairs(tmp_path, lambda i, folder: Image.fromarray(np.roll(RGB, i, 0)).save(folder / f"c{i}{ending}"))
    shutil.move(tmp_path / "m" / "c1.png", tmp_path / "m" / "c1.PNG")
    folder = converted(tmp_path).dataset_folder
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [f"c{i}_0000.png" for i in range(5)]
    assert (folder / "labelsTr" / "c1.png").is_file()
