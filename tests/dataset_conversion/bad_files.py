"""Rows of the table of bad inputs: what a single file, image or mask, can hold."""

import gzip
import io
import json

import numpy as np
import tifffile
from dataset_conversion.bad_inputs import DISC, RGB, SIZE, Place, error, save, warning
from dataset_conversion.png_files import deep_png
from PIL import Image

GREY = RGB[..., 0]
AGAIN = "copy or export these files again"
CLASSES = ["background=0", "disc=255"]


def palette(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.frombytes("P", indices.shape[::-1], indices.astype(np.uint8).tobytes())
    image.putpalette([value for colour in colours for value in colour])
    return image


# ---------------------------------------------------------------------------------------------- damaged


@error("unreadable", "images/c3.png", "truncated", remedy=AGAIN)
def truncated_image(place: Place) -> None:
    place.image.write_bytes(place.image.read_bytes()[:-60])


@error("unreadable", "masks/c3.png", "truncated", remedy=AGAIN)
def truncated_mask(place: Place) -> None:
    place.mask.write_bytes(place.mask.read_bytes()[:-40])


@error("unreadable", "images/c3.png", "cannot identify image file", remedy=AGAIN)
def image_of_no_byte(place: Place) -> None:
    place.image.write_bytes(b"")


@error("unreadable", "masks/c3.png", "cannot identify image file", remedy=AGAIN)
def mask_that_is_a_web_page(place: Place) -> None:
    place.mask.write_bytes(b"<html>404</html>")


@error("unreadable", "c3.ppm.gz", remedy=AGAIN)
def damaged_gzip(place: Place) -> None:
    ppm = io.BytesIO()
    Image.open(place.image).save(ppm, format="PPM")
    place.image.unlink()
    (place.images / "c3.ppm.gz").write_bytes(gzip.compress(ppm.getvalue())[:-30])


@error("unreadable", "c3.tif", remedy=AGAIN)
def truncated_16_bit_colour(place: Place) -> None:
    tifffile.imwrite(place.images / "c3.tif", RGB.astype(np.uint16), photometric="rgb")
    place.image.unlink()
    (place.images / "c3.tif").write_bytes((place.images / "c3.tif").read_bytes()[:-90])


@error("unreadable", "c3.json", "Expecting", remedy=AGAIN)
def damaged_outlines(place: Place) -> None:
    place.mask.unlink()
    (place.masks / "c3.json").write_text('{"shapes": [')


@error("several-pages", "c3.gif", "has 3 pages; allowed is 1", remedy="export one page a file")
def animated_gif(place: Place) -> None:
    frames = [Image.fromarray(np.roll(GREY, shift)) for shift in range(3)]
    frames[0].save(place.images / "c3.gif", save_all=True, append_images=frames[1:])
    place.image.unlink()


@error("several-pages", "masks/c3.png", "has 2 pages; allowed is 1", remedy="export one page a file")
def animated_png(place: Place) -> None:
    Image.fromarray(DISC).save(place.mask, save_all=True, append_images=[Image.fromarray(255 - DISC)])


@error("several-pages", "c3.tif", "has 4 pages; allowed is 1", remedy="3D stacks are not 2D images")
def volume(place: Place) -> None:
    tifffile.imwrite(place.masks / "c3.tif", np.zeros((4, *SIZE), np.uint8), photometric="minisblack")
    place.mask.unlink()


# ---------------------------------------------------------------------------------------------- images


@error("16-bit-colour", "images/c3.png (PNG RGBA)", remedy="8 bits a channel, without alpha")
def image_of_16_bits_with_alpha(place: Place) -> None:
    deep_png(place.image, np.dstack([RGB, RGB])[..., :4].astype(np.uint16))


@error("16-bit-colour", "masks/c3.png (PNG RGB)", remedy="8 bits a channel")
def mask_of_16_bit_colour(place: Place) -> None:
    deep_png(place.mask, np.dstack([DISC] * 3).astype(np.uint16))


def turned(pixels: np.ndarray, path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(pixels, path, exif=exif)


@error("exif-orientation", "images/c3.png", "EXIF orientation 6; allowed is 1", remedy="--exif turn")
def turned_image(place: Place) -> None:
    turned(RGB, place.image)


@error("exif-orientation", "masks/c3.png", "EXIF orientation 6; allowed is 1", remedy="--exif ignore")
def turned_mask(place: Place) -> None:
    turned(DISC, place.mask)


@error("transparency", "images/c3.png", "alpha goes from 0 to", remedy="--alpha drop")
def transparent_image(place: Place) -> None:
    save(np.dstack([RGB, GREY]), place.image)


@error("transparency", "images/c3.png", "alpha goes from 0 to 255", remedy="--alpha drop")
def image_with_a_transparent_palette_entry(place: Place) -> None:
    Image.fromarray(RGB).quantize(8).save(place.image, transparency=0)


@error("transparency", "masks/c3.png", "alpha goes from 0 to 254; allowed is 255", remedy="flatten them")
def transparent_mask(place: Place) -> None:
    save(np.dstack([DISC, DISC, DISC, np.minimum(DISC, 254)]), place.mask)


@error("pixel-type", "c3.tif", "Pillow mode 'CMYK'", remedy="8-bit grey or RGB PNG")
def image_for_printing(place: Place) -> None:
    place.image.unlink()
    Image.fromarray(RGB).convert("CMYK").save(place.images / "c3.tif")


@error("colour-among-grey", "images/c0.png", "such as RGB", remedy="leave --color grey away")
def colour_where_grey_is_asked_for(place: Place) -> dict:
    return {"color": "grey"}


@error("image-small", "images/c3.png is 9 x 7; allowed is at least 8 x 8", remedy="remove these pairs")
def image_too_small(place: Place) -> None:
    save(RGB[:7, :9], place.image)
    save(DISC[:7, :9], place.mask)


@error("image-not-finite", "c3.tif", "NaN", remedy="replace these values")
def image_with_nan(place: Place) -> None:
    place.every_image(lambda pixels: Image.fromarray(pixels[..., 0].astype(np.float32)), ".tif")
    broken = GREY.astype(np.float32)
    broken[0, 0] = np.nan
    save(broken, place.images / "c3.tif")


@error("mixed-depth", "c3.png is 16-bit grey", "8-bit RGB", remedy="same number of bits")
def one_image_of_16_bits(place: Place) -> None:
    save(GREY.astype(np.uint16) * 200, place.image)


@error("format", "images/c3.png is WEBP, whatever its ending", remedy="PNG without loss")
def webp_under_another_name(place: Place) -> None:
    save(RGB, place.image, format="WEBP", lossless=True)


@error("format", "images/c3.webp; allowed are PNG", remedy="PNG without loss")
def webp(place: Place) -> None:
    place.image.rename(place.images / "c3.webp")


# ---------------------------------------------------------------------------------------------- masks


@error("mask-pixel-type", "masks/c3.tif", "Pillow mode 'F'", remedy="8-bit PNG")
def mask_of_floats(place: Place) -> None:
    place.mask.unlink()
    save((DISC / 255).astype(np.float32), place.masks / "c3.tif")


@error("mask-lossy", "masks/c3.jpg is a JPEG", remedy="--threshold 127")
def jpeg_mask(place: Place) -> None:
    place.mask.unlink()
    save(DISC, place.masks / "c3.jpg")


@error("mask-lossy", "masks/c3.png is a JPEG", remedy="--threshold 127")
def jpeg_mask_under_the_name_png(place: Place) -> None:
    save(DISC, place.mask, format="JPEG")


@error("mask-coloured", "masks/c3.png", "80 pixels are not grey, such as RGB (255, 0, 0)", remedy="NAME=#ff0000")
def red_mask(place: Place) -> None:
    save(np.dstack([DISC, 0 * DISC, 0 * DISC]), place.mask)


@error("mask-palette", "masks/c3.png", "index 2 has the colour RGB (7, 8, 9)", remedy="--labels background=0 class2=2")
def coloured_palette(place: Place) -> None:
    save(palette(DISC // 255 * 2, (0, 0, 0), (1, 1, 1), (7, 8, 9)), place.mask)


@error("mask-palette", "masks/c3.png", "index 0 is #ffffff, brighter", remedy="without a palette")
def inverted_palette(place: Place) -> None:
    save(palette(DISC // 255, (255, 255, 255), (0, 0, 0)), place.mask)


@error("mask-not-binary", "masks/c3.png holds", "128 (8 pixels)", remedy="--threshold 127")
def antialiased_mask(place: Place) -> None:
    soft = DISC.copy()
    soft[4:12, 4] = 128
    save(soft, place.mask)


@error("mask-not-binary", "masks/c3.png holds 0 (", "2 (80 pixels)", remedy="--labels background=0 class2=2")
def mask_of_another_class(place: Place) -> None:
    save(DISC // 255 * 2, place.mask)


@error("threshold-empties", "masks/c3.png holds only 0 and 1", "--threshold 127", remedy="multiply these masks by 255")
def label_mask_below_the_threshold(place: Place) -> dict:
    save(DISC // 255, place.mask)
    return {"threshold": 127}


@error("unnamed-values", "masks/c3.png holds 254 (80 pixels)", remedy="class254=254")
def value_outside_the_map(place: Place) -> dict:
    save(DISC // 255 * 254, place.mask)
    return {"labels": CLASSES}


@error("unnamed-colours", "masks/c3.png holds #ffff00 (80 pixels)", remedy="--other background")
def colour_outside_the_map(place: Place) -> dict:
    save(np.dstack([DISC, DISC, 0 * DISC]), place.mask)
    return {"labels": ["background=#000000", "disc=#ffffff"]}


@error("unnamed-class", "c3.json has the class 'tree'", "other=car", remedy="--other background")
def outline_of_a_class_outside_the_map(place: Place) -> dict:
    place.mask.unlink()
    shape = {"label": "tree", "points": [[0, 0], [5, 0], [5, 5]], "shape_type": "polygon"}
    content = {"shapes": [shape], "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (place.masks / "c3.json").write_text(json.dumps(content))
    return {"labels": ["background=0", "disc=255", "other=car"]}


@error("size-differs", "images/c3.png is 40 x 32", "masks/c3.png is 40 x 31", remedy="the same size")
def mask_of_another_size(place: Place) -> None:
    save(DISC[1:], place.mask)


@error("size-differs", "masks/c3.png is 32 x 40", "lies on its side", remedy="turn one of the two by 90 degrees")
def mask_on_its_side(place: Place) -> None:
    save(DISC.T.copy(), place.mask)


@error("no-foreground", "all 6 training masks are background", remedy="-m names the right folder")
def every_mask_empty(place: Place) -> None:
    place.every_mask(0 * DISC)


# ---------------------------------------------------------------------------------------------- warnings


@warning("image-small", "images/c3.png is 40 x 20", remedy="thumbnails")
def small_image(place: Place) -> None:
    save(RGB[:20], place.image)
    save(DISC[:20], place.mask)


@warning("image-constant", "images/c3.png: every pixel is [7, 8, 9]", remedy="remove empty ones")
def image_of_one_colour(place: Place) -> None:
    save(np.broadcast_to(np.array([7, 8, 9], np.uint8), RGB.shape).copy(), place.image)


@warning("mask-empty", "masks/c3.png", remedy="really show nothing")
def empty_mask(place: Place) -> None:
    save(0 * DISC, place.mask)


@warning("mask-full", "masks/c3.png: no background at all", remedy="inverted")
def full_mask(place: Place) -> None:
    save(0 * DISC + 255, place.mask)
