"""`evaluate_folders` beside nnU-Net's own numbers, naive loops and values known by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from evaluation_folders import LABELS, REGIONS, dataset_json, label_maps, make_folders, save
from PIL import Image

from nnunet_ext.evaluation.classes import classes_of
from nnunet_ext.evaluation.folders import evaluate_folders
from nnunet_ext.evaluation.from_summary import evaluate_summary
from nnunet_ext.evaluation.problems import EvaluationError


def nnunets_summary(references, predictions, keys, ignore, output):
    """What nnU-Net writes, by its own functions, without the pool of processes that it starts for six pictures."""
    from nnunetv2.evaluation import evaluate_predictions as stock
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

    class NoPool:
        def __init__(self, *_):
            pass

        def Pool(self, *_):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def starmap(self, function, arguments):
            return [function(*a) for a in arguments]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stock.multiprocessing, "get_context", NoPool)
        stock.compute_metrics_on_folder(
            str(references), str(predictions), str(output), NaturalImage2DIO(), ".png", keys, ignore, 1
        )
    return json.loads(output.read_text())


@pytest.mark.parametrize(
    ("labels", "keys", "ignore"), [(LABELS, [1, 2], None), (REGIONS, [(1, 2), (2,)], 3)], ids=["labels", "regions"]
)
def test_counts_and_dice_are_nnunets(tmp_path, labels, keys, ignore):
    r, p = make_folders(tmp_path, labels=labels)
    theirs = nnunets_summary(r, p, keys, ignore, tmp_path / "summary.json")
    ours = evaluate_folders(r, p, metrics=["dice", "jaccard"])
    assert not ours.problems
    rows = ours.per_case.set_index(["case", "label"])
    assert len(rows) == 12
    for case in theirs["metric_per_case"]:
        name = case["prediction_file"].rsplit("/", 1)[1].removesuffix(".png")
        for label, found in case["metrics"].items():
            row = rows.loc[(name, label)]
            assert [row[c] for c in ("TP", "FP", "FN", "TN")] == [found[c] for c in ("TP", "FP", "FN", "TN")]
            np.testing.assert_equal([row["dice"], row["jaccard"]], [found["Dice"], found["IoU"]])
    for name, key in classes_of(labels).keys.items():
        entry = ours.summary["classes"][name]
        assert entry["label"] == key
        assert entry["metrics"]["dice"]["mean"] == pytest.approx(theirs["mean"][key]["Dice"])
    assert ours.summary["mean_over_classes"]["dice"]["mean"] == pytest.approx(theirs["foreground_mean"]["Dice"])
    again = evaluate_summary(tmp_path / "summary.json", dataset_json=p / "dataset.json", metrics=["dice", "jaccard"])
    pd.testing.assert_frame_equal(again.per_case, ours.per_case)
    assert again.summary["classes"] == ours.summary["classes"]


def test_empty_masks_follow_the_policy(tmp_path):
    r, p = make_folders(tmp_path)
    found = evaluate_folders(r, p, metrics=["dice", "hd", "nsd"])
    rows = found.per_case[found.per_case["class"] == "edge"].set_index("case")
    assert [rows.loc["case_0", m] for m in ("dice", "hd", "nsd")] == [0, math.inf, 0]
    assert rows.loc["case_1", ["dice", "hd", "nsd"]].isna().all()
    hd = found.summary["classes"]["edge"]["metrics"]["hd"]
    assert (hd["n"], hd["n_undefined"], hd["n_infinite"]) == (4, 1, 1)
    finite = rows["hd"].iloc[2:]
    assert hd["mean"] == pytest.approx(finite.mean())
    assert hd["sd"] == pytest.approx(finite.std(ddof=1))
    assert hd["median"] == pytest.approx(finite.median())
    assert hd["mean_penalised"] == pytest.approx((finite.sum() + math.hypot(40, 48)) / 5)
    assert "undefined" in found.summary["policy"]


def test_pooled_values_and_the_confusion_of_the_dataset(tmp_path):
    r, p = make_folders(tmp_path, n=3, empty=False)
    found = evaluate_folders(r, p, metrics=["dice", "recall"])
    matrix = np.zeros((3, 3), int)
    for index in range(3):
        for a, b in zip(*(m.ravel() for m in label_maps(index)), strict=True):
            matrix[a, b] += 1
    assert (found.confusion.to_numpy() == matrix).all()
    assert list(found.confusion.columns) == list(LABELS)
    pooled = found.summary["classes"]["core"]["metrics"]
    assert pooled["dice"]["pooled"] == pytest.approx(2 * matrix[2, 2] / (matrix[2].sum() + matrix[:, 2].sum()))
    assert pooled["recall"]["pooled"] == pytest.approx(matrix[2, 2] / matrix[2].sum())
    iou = [matrix[k, k] / (matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]) for k in range(3)]
    assert found.summary["dataset"]["mean_iou"] == pytest.approx(np.mean(iou))
    assert found.summary["dataset"]["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())


@pytest.mark.parametrize("highest", [5, 300])
def test_counts_of_many_labels_beside_a_loop(tmp_path, highest):
    rng = np.random.default_rng(0)
    labels = {"background": 0, "a": 3, "b": 4, "far": highest, "ignore": highest + 1}
    maps = [rng.choice([*labels.values()][: 5 - i], (30, 20)) for i in range(2)]
    for part, array in zip("rp", maps, strict=True):
        (tmp_path / part).mkdir()
        Image.fromarray(array.astype(np.uint16)).save(tmp_path / part / "x.png")
    dataset_json(tmp_path / "p", labels)
    found = evaluate_folders(tmp_path / "r", tmp_path / "p", metrics=["dice"])
    order = [0, 3, 4, highest]
    wanted = np.zeros((4, 4), int)
    for a, b in zip(*(m.ravel() for m in maps), strict=True):
        if a != highest + 1:
            wanted[order.index(a), order.index(b)] += 1
    assert (found.confusion.to_numpy() == wanted).all()
    rows = found.per_case.set_index("class")
    for k, name in enumerate(["a", "b", "far"], 1):
        tp, fp, fn = wanted[k, k], wanted[:, k].sum() - wanted[k, k], wanted[k].sum() - wanted[k, k]
        assert rows.loc[name, ["TP", "FP", "FN", "TN"]].tolist() == [tp, fp, fn, wanted.sum() - tp - fp - fn]


def test_ignored_pixels_change_no_distance(tmp_path):
    """Whatever is predicted where the reference ignores."""
    r, p = make_folders(tmp_path, n=2, labels=REGIONS, empty=False)
    before = evaluate_folders(r, p, metrics=["dice", "hd95", "assd_pooled"]).per_case
    for path in p.glob("*.png"):
        array = np.array(Image.open(path))
        array[:7, 5:30] = 2
        save(path, array)
    after = evaluate_folders(r, p, metrics=["dice", "hd95", "assd_pooled"]).per_case
    pd.testing.assert_frame_equal(before, after)


def test_lengths_are_in_the_unit_of_the_files(tmp_path):
    import SimpleITK

    volume = np.zeros((6, 10, 12), np.uint8)
    volume[1:4, 2:8, 3:9] = 1
    for part, shift in (("r", 0), ("p", 1)):
        image = SimpleITK.GetImageFromArray(np.roll(volume, shift, axis=0))
        image.SetSpacing((0.5, 0.7, 3.0))
        (tmp_path / part).mkdir()
        SimpleITK.WriteImage(image, str(tmp_path / part / "a.nii.gz"))
    mm = evaluate_folders(tmp_path / "r", tmp_path / "p", metrics=["hd"])
    assert mm.per_case["hd"].item() == pytest.approx(3.0)
    assert mm.summary["metrics"]["hd"]["unit"] == "mm"
    given = evaluate_folders(tmp_path / "r", tmp_path / "p", metrics=["hd"], spacing=[2, 1, 1])
    assert given.per_case["hd"].item() == pytest.approx(2.0)
    image.SetSpacing((0.5, 0.7, 2.0))
    SimpleITK.WriteImage(image, str(tmp_path / "p" / "a.nii.gz"))
    with pytest.raises(EvaluationError, match="differ in spacing"):
        evaluate_folders(tmp_path / "r", tmp_path / "p")


@pytest.mark.parametrize("ending", [".tif", ".bmp", ".nrrd", ".mha", ".nii.gz"])
def test_other_formats_give_the_same(tmp_path, ending):
    import SimpleITK

    a, b = label_maps(3)
    for name, write in ((".png", None), (ending, SimpleITK.WriteImage)):
        for part, array in (("r", a), ("p", b)):
            path = tmp_path / name / part / f"x{name}"
            path.parent.mkdir(parents=True)
            if write is None or ending in (".tif", ".bmp"):
                Image.fromarray(array).save(path)
            else:
                write(SimpleITK.GetImageFromArray(array), str(path))
    tables = [evaluate_folders(tmp_path / e / "r", tmp_path / e / "p").per_case for e in (".png", ending)]
    pd.testing.assert_frame_equal(*tables)


def test_labels_without_a_dataset_json_and_by_flags(tmp_path):
    r, p = make_folders(tmp_path, n=2, empty=False)
    by_json = evaluate_folders(r, p, metrics=["dice"]).per_case
    part = evaluate_folders(r, p, metrics=["dice"], labels=["edge=1"], ignore=2)
    a, b = label_maps(0)
    assert part.per_case.loc[0, ["TP", "FP"]].tolist() == [((a == 1) & (b == 1)).sum(), ((a == 0) & (b == 1)).sum()]
    assert part.per_case.loc[0, ["TP", "FP", "FN", "TN"]].sum() == (a != 2).sum()
    (p / "dataset.json").unlink()
    with pytest.raises(EvaluationError, match="prediction holds labels"):
        evaluate_folders(r, p, labels=["edge=1"], ignore=2)
    found = evaluate_folders(r, p, metrics=["dice"]).per_case
    assert list(found["class"]) == ["1", "2"] * 2
    assert (found["dice"] == by_json["dice"]).all()
    flags = evaluate_folders(r, p, metrics=["dice"], labels=["whole=1,2", "2"]).per_case
    assert list(flags["class"]) == ["whole", "2"] * 2
    assert (flags["dice"][1::2] == by_json["dice"][1::2]).all()


def test_several_processes_give_the_same_as_one(tmp_path):
    for index in range(70):
        for part, array in zip("rp", label_maps(index, (12, 10)), strict=True):
            save(tmp_path / part / f"{index:02}.png", array)
    dataset_json(tmp_path / "p")
    seen = []
    (tmp_path / "p" / "33.png").write_bytes(b"")
    one = evaluate_folders(tmp_path / "r", tmp_path / "p")
    two = evaluate_folders(tmp_path / "r", tmp_path / "p", workers=2, progress=lambda *now: seen.append(now))
    pd.testing.assert_frame_equal(one.per_case, two.per_case)
    assert json.dumps(one.summary) == json.dumps(two.summary)
    assert seen[-1] == ("evaluated", 70, 70)


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_probabilities_beside_the_predictions(tmp_path, labels):
    r, p = make_folders(tmp_path, n=2, labels=labels, empty=False)
    channels = 2 if labels is REGIONS else 3
    maps = {}
    for path in p.glob("*.png"):
        random = np.random.default_rng(len(maps)).random((channels, 1, 40, 48), np.float32)
        maps[path.stem] = random / (random.sum(0) if channels == 3 else 1)
        np.savez_compressed(path.with_suffix(".npz"), probabilities=maps[path.stem])
    found = evaluate_folders(r, p, metrics=["probabilities"], probabilities=True)
    rows = found.per_case.set_index(["case", "class"])
    for case, map_ in maps.items():
        reference = np.array(Image.open(r / f"{case}.png"))
        kept = reference != 3
        core = map_[-1, 0][kept].astype(float)
        soft = 2 * core[reference[kept] == 2].sum() / (core.sum() + (reference == 2).sum())
        assert rows.loc[(case, "core"), "soft_dice"] == pytest.approx(soft, rel=1e-5)
    np.savez(p / "case_0.npz", probabilities=np.zeros((channels, 1, 3, 3), np.float32))
    (p / "case_1.npz").unlink()
    with pytest.raises(EvaluationError, match=r"(?s)another size.*no probabilities beside it"):
        evaluate_folders(r, p, probabilities=True)
    with pytest.raises(EvaluationError, match="--probabilities"):
        evaluate_folders(r, p, metrics=["soft_dice"])
