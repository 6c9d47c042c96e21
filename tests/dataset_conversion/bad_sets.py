"""Rows of the table of bad inputs: names, parts, duplicates, lists, and flags."""

import unicodedata
from pathlib import Path

import numpy as np
from dataset_conversion.bad_inputs import DISC, RGB, Place, error, save, warning
from PIL import Image

from nnunet_ext.dataset_conversion.sources import FolderSource, ListSource, ManifestSource, PatternSource

# ---------------------------------------------------------------------------------------------- pairs and names


@error("mask-missing", "images/c3.png: no mask with the stem 'c3'", remedy="add the missing files")
def lost_mask(place: Place) -> None:
    place.mask.unlink()


@error("image-missing", "masks/c3.png: no image with the stem 'c3'", remedy="add the missing files")
def orphan_mask(place: Place) -> None:
    place.image.unlink()


@error("mask-missing", "img1.png: no mask with the stem 'img1'", remedy="--image-regex 'img0*(?P<case>\\d+)\\..+'")
def numbers_without_zeros(place: Place) -> None:
    for index in range(6):
        (place.images / f"c{index}.png").rename(place.images / f"img{index}.png")
        (place.masks / f"c{index}.png").rename(place.masks / f"{index:03d}.png")


@error("mask-missing", "val/images/v.png (val)", remedy="test images only need none")
def validation_without_mask(place: Place) -> None:
    place.add("val", "v", mask=None)


@error("case-twice", "c3.jpg, c3.png in", remedy="keep one file of each name")
def same_stem_twice(place: Place) -> None:
    save(RGB, place.images / "c3.jpg")


@error("case-twice", "both are case 'c3'", "val/images/c3.png", remedy="rename one of the images")
def same_case_in_training_and_validation(place: Place) -> None:
    place.add("val", "c3")


@error("case-in-two-parts", "images/c3.png", "test/images/c3.png", "case 'c3'", remedy="remove the file from one part")
def same_case_in_training_and_test(place: Place) -> None:
    place.add("test", "c3")


@error("name-clash", "images/c3.png", "test/images/C3.png", remedy="on macOS and Windows they are the same file")
def same_name_but_for_capitals(place: Place) -> None:
    place.add("test", "C3")


@error("case-twice", "caf", "one writes accents as characters of their own", remedy="keep one file of each name")
def same_name_but_for_the_unicode_form(place: Place) -> None:
    for form in ("NFC", "NFD"):
        save(RGB, place.images / f"{unicodedata.normalize(form, 'caf' + chr(233))}.png")
    save(DISC, place.masks / "café.png")


@error("name-unusable", "c3_seg.png: case name 'c3_seg' ends in '_seg'", remedy="rename these images")
def name_that_nnunet_keeps_for_itself(place: Place) -> None:
    for path in (place.image, place.mask):
        path.rename(path.with_name("c3_seg.png"))


@error("suffix-missing", "masks/c0.png: the stem 'c0' does not end in '_m'", remedy="correct --mask-suffix")
def suffix_that_no_mask_has(place: Place) -> dict:
    return {"mask_suffix": "_m"}


@error("suffix-with-ending", "--mask-suffix _m.png", remedy="--mask-suffix _m")
def suffix_with_the_file_ending(place: Place) -> dict:
    return {"mask_suffix": "_m.png"}


@error("folder-missing", "nowhere (-m) does not exist", remedy="correct the path after -m")
def folder_that_is_not_there(place: Place) -> dict:
    return {"source": FolderSource({"train": (place.images, place.root / "nowhere")})}


@error("folder-empty", "empty (-i) holds no file", remedy="holds the images directly")
def folder_without_images(place: Place) -> dict:
    (place.root / "empty").mkdir()
    return {"source": FolderSource({"train": (place.root / "empty", place.masks)})}


@error("not-told-apart", "-i and -m are both", remedy="--mask-suffix")
def one_folder_without_suffix(place: Place) -> dict:
    return {"source": FolderSource({"train": (place.images, place.images)})}


# ---------------------------------------------------------------------------------------------- lists and patterns


def listed(place: Place, content: str) -> dict:
    (place.root / "train.txt").write_text(content)
    return {"source": ListSource({"train": place.root / "train.txt"}, masks=place.masks)}


@error("list-entry", "train.txt, line 2", "images/c9.png does not exist", remedy="--root DIR")
def list_entry_that_is_not_there(place: Place) -> dict:
    return listed(place, "images/c0.png\nimages/c9.png\n")


@error("list-empty", "--train-list", "train.txt", remedy="name a list with paths")
def list_without_entries(place: Place) -> dict:
    return listed(place, "\n")


@error("list-unreadable", "--train-list", "none.txt", remedy="correct the path after --train-list")
def list_that_is_not_there(place: Place) -> dict:
    return {"source": ListSource({"train": place.root / "none.txt"})}


def manifest(place: Place, content: str) -> dict:
    (place.root / "all.csv").write_text(content)
    return {"source": ManifestSource(place.root / "all.csv")}


@error("manifest-unreadable", "--manifest", "none.csv", remedy="name a CSV or JSON file")
def manifest_that_is_not_there(place: Place) -> dict:
    return {"source": ManifestSource(place.root / "none.csv")}


@error("manifest-columns", "has picture, mask; it needs a column image", remedy="names of the columns")
def manifest_without_images(place: Place) -> dict:
    return manifest(place, "picture,mask\nimages/c0.png,masks/c0.png\n")


@error("split-unknown", "row 1: split 'holdout'; allowed are train, val, test", remedy="correct the column split")
def manifest_with_an_unknown_part(place: Place) -> dict:
    return manifest(place, "image,mask,split\nimages/c0.png,masks/c0.png,holdout\n")


@error("table-column", "has no column 'ImageId'", remedy="name the columns")
def run_lengths_without_their_columns(place: Place) -> dict:
    from nnunet_ext.dataset_conversion.sources import RunLengthSource

    (place.root / "runs.csv").write_text("Image,Runs\nc0.png,1 2\n")
    return {"source": RunLengthSource(place.images, place.root / "runs.csv")}


def pattern(place: Place, regex: str) -> dict:
    return {"source": PatternSource(place.images, place.masks, regex, r"(?P<case>.+)\.png")}


@error("regex-syntax", "--image-regex '(?P<case>'", remedy="--mask-regex 'masks/(?P<case>.+)_mask")
def pattern_with_a_typing_error(place: Place) -> dict:
    return pattern(place, "(?P<case>")


@error("regex-groups", "names nothing; it needs case", remedy="--image-regex 'images/(?P<case>.+)")
def pattern_without_a_case(place: Place) -> dict:
    return pattern(place, r".+\.png")


@error("regex-no-match", "matches no file below", "such as 'c", remedy="the whole path below -i")
def pattern_that_finds_nothing(place: Place) -> dict:
    return pattern(place, r"(?P<case>.+)\.tif")


@error("regex-no-match", "c0.png: case name 'c0'", remedy="correct --group-regex")
def group_pattern_that_finds_nothing(place: Place) -> dict:
    return {"group_regex": r"(?P<group>p\d+)"}


@error("regex-groups", "--group-regex '(?P<patient>.)' names patient; allowed are group", remedy="--group-regex")
def group_pattern_with_another_name(place: Place) -> dict:
    return {"group_regex": "(?P<patient>.)"}


@error("regex-syntax", "--group-regex '('", remedy="--group-regex")
def group_pattern_with_a_typing_error(place: Place) -> dict:
    return {"group_regex": "("}


# ---------------------------------------------------------------------------------------------- parts and duplicates

LEAK = "--duplicates drop"


@error("duplicate-across-parts", "images/c3.png (train) and", "test/images/t.png (test)", remedy=LEAK)
def training_picture_in_test(place: Place) -> None:
    place.add("test", "t", np.asarray(Image.open(place.image)))


@error("duplicate-across-parts", "c3.png (train) and", "test/images/t.bmp (test)", remedy=LEAK)
def training_picture_in_test_in_another_format(place: Place) -> None:
    place.add("test", "t", np.asarray(Image.open(place.image)))
    image = place.root / "test" / "images" / "t.png"
    Image.open(image).save(image.with_suffix(".bmp"))
    image.unlink()


@error("duplicate-across-parts", "c3.png (train) and", "val/images/v.png (val)", remedy=LEAK)
def training_picture_in_validation_in_three_channels(place: Place) -> None:
    grey = np.asarray(Image.open(place.image))[..., 0]
    save(grey, place.image)
    place.add("val", "v", np.dstack([grey] * 3))


@warning("duplicate-across-parts", "c3.png (train) and", "t.png (test)", remedy="scores would be too good")
def duplicate_that_is_kept(place: Place) -> dict:
    training_picture_in_test(place)
    return {"duplicates": "keep"}


@warning("duplicate", "c2.png (train) and", "c3.png (train)", remedy="folds that are made here keep them")
def picture_twice_in_training(place: Place) -> None:
    place.image.write_bytes((place.images / "c2.png").read_bytes())


@error("group-straddles", "group 'c': c0 in train, c9 in test", remedy="--allow-straddling")
def patient_in_two_parts(place: Place) -> dict:
    place.add("test", "c9")
    place.add("val", "v1")
    return {"group_regex": "(?P<group>[a-z])"}


@warning("group-straddles", "group 'c': c0 in train, c9 in test", remedy="the parts are taken as they are")
def patient_in_two_parts_as_published(place: Place) -> dict:
    return {**patient_in_two_parts(place), "straddling": True}


@error("no-training-cases", "all training cases are in the validation part", remedy="name cases to train on")
def nothing_but_validation(place: Place) -> dict:
    return {"source": FolderSource({"val": (place.images, place.masks)})}


@error("unreadable", "images/c3.png", "No such file", remedy="copy or export these files again")
def links_to_nothing(place: Place) -> None:
    for path in (place.image, place.mask):
        path.unlink()
        path.symlink_to(place.root / "unmounted" / path.name)


def two_patients(place: Place) -> None:
    """Rename half of the cases: groups c and d."""
    for folder in (place.images, place.masks):
        for index in range(3):
            (folder / f"c{index}.png").rename(folder / f"d{index}.png")


@error("too-few-cases", "6 training cases in 2 groups", "for 5 folds (--folds)", remedy="pass --folds 2")
def fewer_groups_than_folds(place: Place) -> dict:
    two_patients(place)
    return {"group_regex": "(?P<group>[a-z])"}


@error("too-few-cases", "--test-share 0.3 of 6 cases in 1 group", remedy="leave --test-share away")
def one_group_to_be_divided(place: Place) -> dict:
    return {"group_regex": "(?P<group>[a-z])", "test_share": 0.3}


@warning("folds-uneven", "validates on 6 of 10 cases; even folds have 2", remedy="fewer --folds")
def one_large_group(place: Place) -> dict:
    for index in range(4):
        save(np.roll(RGB, 9 + index, 1), place.images / f"{index}.png")
        save(DISC, place.masks / f"{index}.png")
    return {"group_regex": "(?P<group>.)"}


@warning("share-differs", "--val-share 0.3: 3 of 6 cases, as 2 groups stay whole", remedy="pass another share")
def groups_too_large_for_the_share(place: Place) -> dict:
    two_patients(place)
    return {"group_regex": "(?P<group>[a-z])", "val_share": 0.3}


@error("count-differs", "test: 0 cases; the complete data set has 4", remedy="--partial")
def incomplete_download(place: Place) -> dict:
    return {"expected": {"train": 6, "test": 4}}


@warning("count-differs", "train: 6 cases; the complete data set has 7", remedy="--partial")
def incomplete_download_taken_as_it_is(place: Place) -> dict:
    return {"expected": {"train": 7}, "partial": True}


@warning("classes-overlap", "c3_a.png: 8 pixels belong to several classes", remedy="--regions")
def classes_on_the_same_pixels(place: Place) -> dict:
    for index in range(6):
        for letter, rows in (("a", slice(0, 3)), ("b", slice(2 if index == 3 else 3, 6))):
            marked = 0 * DISC
            marked[rows, :8] = 255
            save(marked, place.masks / f"c{index}_{letter}.png")
    source = PatternSource(place.images, place.masks, r"(?P<case>.+)\.png", r"(?P<case>.+)_(?P<label>.)\.png")
    return {"source": source, "labels": ["background=0", "first=a", "second=b"]}


# ---------------------------------------------------------------------------------------------- flags and target


@error("id-range", "-d 1000; allowed are 1 to 999", remedy="-d 501")
def id_of_four_digits(place: Place) -> dict:
    return {"dataset_id": 1000}


@error("name-range", "-n 'my discs'", remedy="-n my_discs")
def name_with_a_blank(place: Place) -> dict:
    return {"name": "my discs"}


@error("threshold-range", "--threshold 255; allowed are 0 to 254", remedy="--threshold 127")
def threshold_that_nothing_exceeds(place: Place) -> dict:
    return {"threshold": 255}


@error("share-range", "--test-share 30; allowed are numbers between 0 and 1", remedy="--test-share 0.3")
def share_in_percent(place: Place) -> dict:
    return {"test_share": 30}


@error("folds-range", "--folds 1; allowed are 2 or more", remedy="--val-share 0.3")
def one_fold(place: Place) -> dict:
    return {"folds": 1}


@error("flags-exclude", "--folds 5 and --val-share 0.3", remedy="leave one of the two away")
def folds_and_a_share(place: Place) -> dict:
    return {"folds": 5, "val_share": 0.3}


@error("raw-unusable", "raw is a file", remedy="set nnUNet_raw to a folder")
def output_that_is_a_file(place: Place) -> None:
    place.raw.write_text("")


@error("id-in-use", "-d 501", "Dataset501_Other exists", remedy="-d 502")
def id_of_another_data_set(place: Place) -> None:
    (place.raw / "Dataset501_Other").mkdir(parents=True)


@error("id-in-use", "Dataset501_Discs exists", "dataset.json", remedy="--overwrite")
def data_set_from_other_files(place: Place) -> None:
    (place.raw / "Dataset501_Discs").mkdir(parents=True)


@error("splits-exist", "splits_final.json holds other folds", remedy="--overwrite, which keeps it")
def folds_of_somebody_else(place: Place) -> dict:
    folder = place.root / "preprocessed" / "Dataset501_Discs"
    folder.mkdir(parents=True)
    (folder / "splits_final.json").write_text("[]")
    return {"preprocessed": folder.parent}


@error("source-in-target", "Dataset501_Discs/masks lies in", remedy="choose another -d or -n")
def sources_in_the_data_set(place: Place) -> dict:
    target = place.raw / "Dataset501_Discs"
    target.mkdir(parents=True)
    place.masks = place.masks.rename(target / "masks")
    return {"overwrite": True}


def labelled(code: str, where: str, remedy: str, **options) -> None:
    """A row for a flag about labels, with no file spoiled."""

    def spoil(place: Place) -> dict:
        return options

    spoil.__name__ = "_".join(map(str, options.get("labels") or options.values()))
    error(code, where, remedy=remedy)(spoil)


labelled("label-syntax", "--labels 'road'; allowed is NAME=WHAT", "road=3", labels=["road"])
labelled("label-value", "road=70000; allowed are values from 0", "value that the class has", labels=["road=70000"])
labelled("label-ignored", "--labels road=3 and --ignore 3", "leave road=3", labels=["road=3"], ignore=3)
labelled("label-kinds", "a=3 and b=#ffffff", "all by values", labels=["a=3", "b=#ffffff"])
labelled("label-none", "--labels names background only", "type for example", labels=["background=0"])
labelled("label-many", "255 classes", "join classes", labels=[f"k{n}={n}" for n in range(1, 256)])
labelled("label-repeated", "--labels a=3 a=4", "a=3,4", labels=["a=3", "a=4"])
labelled("label-reserved", "--labels ignore=4", "pass --ignore 4", labels=["a=3", "ignore=4"])
labelled("ignore-colour", "--ignore #ff0000 without --labels", "name all colours", ignore="#ff0000")
CLASSES = ["background=0", "a=1", "b=2", "c=255"]
labelled("region-syntax", "--regions x=d", "whole=edema,core", labels=CLASSES, regions=["x=d"])
labelled("region-order", "--regions x has no class", "large regions first", labels=CLASSES, regions=["x=a", "y=a,b,c"])
labelled("region-overlap", "--regions x and y share", "part of the other", labels=CLASSES, regions=["x=a,b", "y=b,c"])


@error("file-changed", "masks/c3.png was changed or removed", remedy="convert again")
def file_that_changes_after_the_check(place: Place) -> dict:
    def spoil(*call: object) -> None:
        if call == ("checked", 6, 6):
            save(255 - DISC, Path(place.mask))

    return {"progress": spoil}
