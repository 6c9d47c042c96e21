"""Outlines of every format, drawn."""

import json
import pickle

import numpy as np
import pytest

from nnunet_ext.dataset_conversion.annotations.many_images import coco_annotations, via_annotations
from nnunet_ext.dataset_conversion.annotations.painting import FEW_POINTS, OUTSIDE
from nnunet_ext.dataset_conversion.annotations.polygons import Polygons
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.problems import RefusedFile

BINARY = legend_from_flags(None, None, None, [])
SHAPE = (5, 6)
LEFT, RIGHT = [(0, 0), (2, 0), (2, 2), (0, 2)], [(2, 1), (4, 1), (4, 3), (2, 3)]  # (x, y), 3 x 3 pixels each


def legend(*labels, other="refuse"):
    return legend_from_flags(labels, None, None, [], other=other)


def region(points, **attributes):
    listed = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    named = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f"<Region Id='1' {named}><Attributes/><Vertices>{listed}</Vertices></Region>"


def layer(*regions, attribute="Description", name=""):
    attributes = f'<Attributes><Attribute Name="{attribute}" Id="0" Value=""/></Attributes>'
    return f'<Annotation Id="1" Name="{name}">{attributes}<Regions>{"".join(regions)}</Regions></Annotation>'


def xml(tmp_path, *layers):
    path = tmp_path / "a.xml"
    path.write_text(f'<?xml version="1.0"?><Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>')
    return path


def dumped(path, content):
    path.write_text(json.dumps(content))
    return path


def code_of(annotation, made=BINARY):
    with pytest.raises(RefusedFile) as refused:
        annotation.read(made, SHAPE)
    return refused.value.problem.code


def boxes(*placed):
    """(5, 6) labels with boxes of (rows, columns, label)."""
    labels = np.zeros(SHAPE, int)
    for rows, columns, label in placed:
        labels[rows, columns] = label
    return labels.tolist()


AT_LEFT, AT_RIGHT = (slice(0, 3), slice(0, 3)), (slice(1, 4), slice(2, 5))


def test_imagescope_regions_without_classes_are_foreground(tmp_path):
    annotation = Polygons(xml(tmp_path, layer(region(LEFT), region(RIGHT))))
    mask = annotation.read(BINARY, SHAPE)
    assert mask.labels.tolist() == boxes((*AT_LEFT, 1), (*AT_RIGHT, 1))
    assert (mask.labels.dtype, mask.encoding, mask.overlap, mask.notes) == (np.uint8, "polygons", 0, ())
    assert pickle.loads(pickle.dumps(annotation)) == annotation


def test_centres_of_pixels_decide(tmp_path):
    triangle = region([(0.4, 0.4), (4.8, 0.4), (0.4, 4.8)])
    labels = Polygons(xml(tmp_path, layer(triangle))).read(BINARY, SHAPE).labels
    assert labels.tolist() == [[0] * 6, [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]]


def test_imagescope_layers_are_classes_by_their_attribute(tmp_path):
    path = xml(tmp_path, layer(region(LEFT), attribute="Epithelial"), layer(region(RIGHT), attribute="Neutrophil"))
    mask = Polygons(path).read(legend("n=Neutrophil", "e=Epithelial"), SHAPE)
    assert mask.labels.tolist() == boxes((*AT_LEFT, 2), (*AT_RIGHT, 1))
    assert mask.overlap == 2
    assert code_of(Polygons(path), legend("e=Epithelial")) == "unnamed-class"
    assert Polygons(path).read(legend("e=Epithelial", other="background"), SHAPE).labels.tolist() == boxes(
        (*AT_LEFT, 1), (*AT_RIGHT, 0)
    )


def test_imagescope_layers_are_classes_by_their_name(tmp_path):
    mask = Polygons(xml(tmp_path, layer(region(LEFT), name="Tumour"))).read(legend("t=Tumour"), SHAPE)
    assert mask.labels.tolist() == boxes((*AT_LEFT, 1))


def test_negative_regions_are_holes_of_their_own_class_wherever_they_stand(tmp_path):
    hole = region([(0.9, 0.9), (3.1, 0.9), (3.1, 1.1), (0.9, 1.1)], NegativeROA=1)
    other = layer(region([(3, 0), (3, 1), (3, 2)]), attribute="b")
    mask = Polygons(xml(tmp_path, other, layer(hole, region(LEFT), attribute="a"))).read(legend("a=a", "b=b"), SHAPE)
    assert mask.labels[1].tolist() == [1, 0, 0, 2, 0, 0]
    assert mask.labels[0].tolist() == [1, 1, 1, 2, 0, 0]


def test_outlines_are_cut_at_the_border_and_refused_beyond_it(tmp_path):
    cut = region([(4, 3), (9, 3), (9, 9), (4, 9)])
    assert Polygons(xml(tmp_path, layer(cut))).read(BINARY, SHAPE).labels.tolist() == boxes(
        (slice(3, 5), slice(4, 6), 1)
    )
    path = xml(tmp_path, layer(region(LEFT), region([(600, 400), (620, 400), (620, 420)])))
    with pytest.raises(RefusedFile) as refused:
        Polygons(path).read(BINARY, SHAPE)
    assert refused.value.problem.code == "outline-outside"
    assert "at x 600, y 400 lies outside its image of 6 x 5" in refused.value.problem.where
    mask = Polygons(path, outside="leave out").read(BINARY, SHAPE)
    assert (mask.labels.tolist(), mask.notes) == (boxes((*AT_LEFT, 1)), (OUTSIDE,))


def test_outlines_of_two_points_are_noted(tmp_path):
    mask = Polygons(xml(tmp_path, layer(region(LEFT), region(RIGHT[:2]), region([])))).read(BINARY, SHAPE)
    assert (mask.labels.tolist(), mask.notes) == (boxes((*AT_LEFT, 1)), (FEW_POINTS,))


def test_xml_that_cannot_be_used(tmp_path):
    assert code_of(Polygons(xml(tmp_path, layer(region(LEFT, Type=2))))) == "outline-kind"
    assert code_of(Polygons(xml(tmp_path, layer("<Region><Vertices><Vertex X='1'/></Vertices></Region>")))) == (
        "outlines-malformed"
    )
    (tmp_path / "a.xml").write_text("<annotation><object/></annotation>")
    assert code_of(Polygons(tmp_path / "a.xml")) == "outlines-unknown"
    (tmp_path / "a.xml").write_text("<Annotations>")
    assert code_of(Polygons(tmp_path / "a.xml")) == "unreadable"


def labelme(tmp_path, *shapes, **more):
    listed = [{"label": name, "points": points, "shape_type": kind} for name, points, kind in shapes]
    return dumped(tmp_path / "a.json", {"version": "5.0", "shapes": listed, **more})


def test_labelme_polygons_rectangles_and_circles(tmp_path):
    shapes = (("a", LEFT, "polygon"), ("b", [[4, 3], [2, 1]], "rectangle"), ("c", [[4, 3], [4, 4]], "circle"))
    path = labelme(tmp_path, *shapes, imageHeight=5, imageWidth=6)
    mask = Polygons(path).read(legend("a=a", "b=b", "c=c"), (1, 1))
    expected = np.array(boxes((*AT_LEFT, 1), (*AT_RIGHT, 2)))
    expected[[2, 3, 3, 3, 4], [4, 3, 4, 5, 4]] = 3
    assert mask.labels.tolist() == expected.tolist()
    assert mask.overlap == 2 + 3


def test_labelme_shapes_without_a_type_are_polygons(tmp_path):
    assert Polygons(labelme(tmp_path, ("a", LEFT, None))).read(BINARY, SHAPE).labels.tolist() == boxes((*AT_LEFT, 1))


def test_labelme_shapes_that_cannot_be_drawn(tmp_path):
    assert code_of(Polygons(labelme(tmp_path, ("a", LEFT, "linestrip")))) == "outline-kind"
    assert code_of(Polygons(labelme(tmp_path, ("a", LEFT, "rectangle")))) == "outlines-malformed"
    assert code_of(Polygons(labelme(tmp_path, ("a", [[90, 90], [91, 91]], "circle")))) == "outline-outside"
    assert code_of(Polygons(dumped(tmp_path / "a.json", {"shapes": [{"points": LEFT}]}))) == "outlines-malformed"


def test_cityscapes_objects_in_their_order(tmp_path):
    things = [{"label": "road", "polygon": LEFT}, {"label": "car", "polygon": RIGHT}]
    things.append({"label": "bus", "polygon": LEFT, "deleted": 1})
    path = dumped(tmp_path / "a_gtFine_polygons.json", {"imgHeight": 5, "imgWidth": 6, "objects": things})
    mask = Polygons(path).read(legend("car=car", "road=road"), (1, 1))
    assert (mask.labels.tolist(), mask.overlap) == (boxes((*AT_LEFT, 2), (*AT_RIGHT, 1)), 2)


def via(name, *regions, **attributes):
    return {
        "filename": name,
        "size": 9,
        "regions": [{"shape_attributes": r, "region_attributes": attributes} for r in regions],
    }


POLYGON = {"name": "polygon", "all_points_x": [x for x, _ in LEFT], "all_points_y": [y for _, y in LEFT]}
RECT, CIRCLE = {"name": "rect", "x": 2, "y": 1, "width": 2, "height": 2}, {"name": "circle", "cx": 5, "cy": 4, "r": 0.5}


def test_via_of_one_image_and_of_many(tmp_path):
    one = dumped(tmp_path / "a.json", {"i.png9": via("i.png", POLYGON, RECT, CIRCLE)})
    expected = boxes((*AT_LEFT, 1), (*AT_RIGHT, 1), (4, 5, 1))
    assert Polygons(one).read(BINARY, SHAPE).labels.tolist() == expected
    entries = {"i.png9": via("i.png", POLYGON, kind="a"), "j.png9": via("j.png", RECT, kind="b", seen="yes")}
    many = dumped(tmp_path / "b.json", {"_via_settings": {}, "_via_img_metadata": entries})
    assert code_of(Polygons(many)) == "outlines-many"
    found = via_annotations(many, "kind")
    assert found["j.png"].read(legend("a=a", "b=b"), SHAPE).labels.tolist() == boxes((*AT_RIGHT, 2))
    assert found["j.png"].files == (many,)
    with pytest.raises(RefusedFile, match="kind, seen"):
        via_annotations(many)


def test_via_1_numbers_its_regions(tmp_path):
    entry = via("i.png")
    entry["regions"] = {"0": {"shape_attributes": POLYGON, "region_attributes": {}}}
    assert via_annotations(dumped(tmp_path / "a.json", {"x": entry}))["i.png"].read(BINARY, SHAPE).labels.sum() == 9
    entry["regions"]["0"] = {"shape_attributes": {"name": "point"}, "region_attributes": {}}
    with pytest.raises(RefusedFile, match="no outlines"):
        via_annotations(dumped(tmp_path / "a.json", {"x": entry}))


def coco(tmp_path, *annotations):
    images = [{"id": n, "file_name": f"{n}.png", "height": 5, "width": 6} for n in (1, 2)]
    categories = [{"id": 7, "name": "car"}, {"id": 9, "name": "crowd of people"}]
    return dumped(tmp_path / "c.json", {"images": images, "annotations": annotations, "categories": categories})


def test_coco_polygons_crowds_and_packed_runs(tmp_path):
    square = {"image_id": 1, "category_id": 7, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 5, 4, 5]]}
    crowd = {"image_id": 1, "category_id": 9, "iscrowd": 1, "segmentation": {"size": [5, 6], "counts": [0, 10, 20]}}
    packed = {"image_id": 1, "category_id": 9, "segmentation": {"size": [5, 6], "counts": "i01"}}  # 25, 1, and
    packed["segmentation"]["counts"] += "4"  # 4 outside
    found = coco_annotations(coco(tmp_path, square, crowd, packed))
    mask = found["1.png"].read(legend("c=car", "p=crowd of people"), SHAPE)
    expected = boxes((slice(0, 5), slice(0, 2), 2), (slice(0, 2), slice(0, 2), 1), (4, slice(4, 6), 1), (0, 5, 2))
    assert (mask.labels.tolist(), mask.overlap) == (expected, 4)
    assert not found["2.png"].read(BINARY, SHAPE).labels.any()
    assert pickle.loads(pickle.dumps(found["1.png"])) == found["1.png"]


def test_coco_images_that_are_not_there_are_left_out(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/2.png").touch()
    assert list(coco_annotations(coco(tmp_path), tmp_path / "images")) == ["2.png"]


def test_coco_files_with_wrong_entries(tmp_path):
    runs = {"image_id": 1, "category_id": 7, "segmentation": {"size": [5, 6], "counts": [3, 4]}}
    assert code_of(coco_annotations(coco(tmp_path, runs))["1.png"]) == "outlines-malformed"
    runs["segmentation"] = {"size": [6, 5], "counts": [3, 27]}
    assert code_of(coco_annotations(coco(tmp_path, runs))["1.png"]) == "outlines-malformed"
    for wrong in ({"image_id": 3, "category_id": 7, "segmentation": []}, {"image_id": 1, "category_id": 7}):
        with pytest.raises(RefusedFile) as refused:
            coco_annotations(coco(tmp_path, wrong))
        assert refused.value.problem.code == "outlines-malformed"
    assert code_of(Polygons(coco(tmp_path))) == "outlines-many"


@pytest.mark.parametrize("content", [[], {}, {"regions": 1}])
def test_json_of_no_known_format(tmp_path, content):
    assert code_of(Polygons(dumped(tmp_path / "a.json", content))) == "outlines-unknown"


def test_json_that_is_none(tmp_path):
    (tmp_path / "a.json").write_text("{")
    assert code_of(Polygons(tmp_path / "a.json")) == "unreadable"
