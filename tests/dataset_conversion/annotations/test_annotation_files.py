"""Several mask files an image, and instance maps."""

import pickle

import numpy as np
import pytest
from dataset_conversion.layout_checks import save
from PIL import Image

from nnunet_ext.dataset_conversion.annotations.instance_map import InstanceMap
from nnunet_ext.dataset_conversion.annotations.several_files import ClassFiles, InstanceFiles
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.problems import RefusedFile

SHAPE = (3, 4)


def legend(*labels, **flags):
    problems = []
    made = legend_from_flags(
        list(labels) or None, flags.pop("ignore", None), flags.pop("threshold", None), problems, **flags
    )
    assert problems == []
    return made


def box(path, rows, columns, value=255, shape=SHAPE):
    pixels = np.zeros(shape, np.uint8)
    pixels[rows, columns] = value
    return save(pixels, path)


def objects(tmp_path, value=255):
    a = box(tmp_path / "a.png", slice(0, 2), slice(0, 2), value)
    b = box(tmp_path / "b.png", slice(1, 3), slice(1, 3), value)
    return InstanceFiles((a, b))


UNION = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize("value", [1, 255])
def test_what_any_file_marks_is_foreground(tmp_path, value):
    annotation = objects(tmp_path, value)
    mask = annotation.read(legend(), SHAPE)
    assert mask.labels.tolist() == UNION
    assert (mask.labels.dtype, mask.encoding) == (np.uint8, "several files")
    assert annotation.files == (tmp_path / "a.png", tmp_path / "b.png")
    assert pickle.loads(pickle.dumps(annotation)) == annotation


def test_the_threshold_is_for_the_files_and_not_for_their_union(tmp_path):
    assert objects(tmp_path, 200).read(legend(threshold=127), SHAPE).labels.tolist() == UNION
    with pytest.raises(RefusedFile, match="not binary"):
        objects(tmp_path, 200).read(legend(), SHAPE)


def test_with_labels_an_object_has_the_value_1(tmp_path):
    mask = objects(tmp_path).read(legend("background=0", "sky=7", "cell=1"), SHAPE)
    assert mask.labels.tolist() == (2 * np.array(UNION)).tolist()


def test_no_files_but_a_folder_is_an_image_without_objects(tmp_path):
    assert InstanceFiles((), tmp_path).read(legend(), SHAPE).labels.tolist() == np.zeros(SHAPE, int).tolist()
    for empty in (InstanceFiles(()), ClassFiles(())):
        with pytest.raises(RefusedFile) as refused:
            empty.read(legend(), SHAPE)
        assert refused.value.problem.code == "mask-none"


def test_files_of_different_sizes_are_named_with_them(tmp_path):
    paths = box(tmp_path / "a.png", 0, 0), box(tmp_path / "b.png", 0, 0, shape=(5, 6))
    for annotation in (InstanceFiles(paths), ClassFiles((("x", paths[0]), ("y", paths[1])))):
        with pytest.raises(RefusedFile) as refused:
            annotation.read(legend(), SHAPE)
        problem = refused.value.problem
        assert problem.code == "masks-disagree"
        assert "a.png is 4 x 3" in problem.where
        assert "b.png is 6 x 5" in problem.where


def classes(tmp_path):
    files = objects(tmp_path).paths
    return ClassFiles((("disc", files[0]), ("cup", files[1])))


def test_the_later_label_wins_whatever_the_order_of_the_files(tmp_path):
    mask = classes(tmp_path).read(legend("d=disc", "c=cup"), SHAPE)
    assert mask.labels.tolist() == [[1, 1, 0, 0], [1, 2, 2, 0], [0, 2, 2, 0]]
    mask = ClassFiles(classes(tmp_path).path_of_class[::-1]).read(legend("d=disc", "c=cup"), SHAPE)
    assert mask.labels.tolist() == [[1, 1, 0, 0], [1, 2, 2, 0], [0, 2, 2, 0]]


def test_the_later_class_wins_and_the_overlap_is_counted(tmp_path):
    mask = classes(tmp_path).read(legend("c=cup", "d=disc"), SHAPE)
    assert mask.labels.tolist() == [[2, 2, 0, 0], [2, 2, 1, 0], [0, 1, 1, 0]]
    assert mask.overlap == 1


def test_with_a_binary_legend_all_classes_are_foreground(tmp_path):
    mask = classes(tmp_path).read(legend(), SHAPE)
    assert (mask.labels.tolist(), mask.overlap) == (UNION, 0)


def test_a_class_may_be_background(tmp_path):
    mask = classes(tmp_path).read(legend("background=cup", "d=disc"), SHAPE)
    assert mask.labels.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert mask.overlap == 1


def test_a_class_without_a_name_in_labels_is_refused(tmp_path):
    with pytest.raises(RefusedFile, match="cup"):
        classes(tmp_path).read(legend("d=disc"), SHAPE)


NUMBERED = np.array([[0, 1, 2, 0], [0, 0, 300, 300], [4, 0, 0, 0]])


def test_every_number_but_0_is_an_object(tmp_path):
    small = np.where(NUMBERED > 255, 254, NUMBERED).astype(np.uint8)
    save(NUMBERED.astype(np.uint16), tmp_path / "deep.png")
    save(NUMBERED.astype(np.uint16), tmp_path / "deep.tif")
    save(NUMBERED.astype(np.int32), tmp_path / "deeper.tif")
    save(small, tmp_path / "small.bmp")
    save(np.repeat(small[..., None], 3, 2), tmp_path / "grey.png")
    palette = Image.fromarray(small, "P")
    palette.putpalette([0] * 768)
    save(palette, tmp_path / "palette.png")
    for name in ("deep.png", "deep.tif", "deeper.tif", "small.bmp", "grey.png", "palette.png"):
        for made in (legend(), legend(threshold=200)):
            mask = InstanceMap(tmp_path / name).read(made, SHAPE)
            assert mask.labels.tolist() == (NUMBERED > 0).astype(int).tolist(), name
            assert (mask.labels.dtype, mask.encoding) == (np.uint8, "instances")


def test_colours_are_objects_only_if_expected(tmp_path):
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[0, 1] = 0, 0, 9
    pixels[2, 2:] = 200, 0, 0
    path = save(pixels, tmp_path / "map.png")
    mask = InstanceMap(path, coloured=True).read(legend(), SHAPE)
    assert mask.labels.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]
    with pytest.raises(RefusedFile) as refused:
        InstanceMap(path).read(legend(), SHAPE)
    assert refused.value.problem.code == "instances-coloured"
    assert "RGB (0, 0, 9)" in refused.value.problem.where


def test_fractions_negatives_transparency_and_jpegs_number_no_objects(tmp_path):
    save(np.full(SHAPE, 0.5, np.float32), tmp_path / "half.tif")
    save(np.full(SHAPE, -1, np.int32), tmp_path / "minus.tif")
    save(np.full((*SHAPE, 4), 7, np.uint8), tmp_path / "clear.png")
    save(np.zeros(SHAPE, np.uint8), tmp_path / "lossy.jpg")
    codes = {"half.tif": "instances-values", "minus.tif": "instances-values"}
    for name, code in {**codes, "clear.png": "transparency", "lossy.jpg": "mask-lossy"}.items():
        with pytest.raises(RefusedFile) as refused:
            InstanceMap(tmp_path / name).read(legend(), SHAPE)
        assert refused.value.problem.code == code
