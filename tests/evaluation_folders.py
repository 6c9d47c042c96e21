"""Made folders of references and predictions."""

import json

import numpy as np
from PIL import Image
from scipy import ndimage

LABELS = {"background": 0, "edge": 1, "core": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}


def label_maps(seed, shape=(40, 48)):
    """A reference and a prediction with labels 0, 1, 2."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 5)
    other = field + 0.4 * ndimage.gaussian_filter(rng.normal(size=shape), 3)
    return tuple(np.digitize(f / field.std(), [0.7, 1.3]).astype(np.uint8) for f in (field, other))


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def dataset_json(folder, labels=LABELS, **more):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"labels": labels, "file_ending": ".png", "channel_names": {"0": "x"}, "numTraining": 1, **more}
    (folder / "dataset.json").write_text(json.dumps(content))


def make_folders(root, n=6, labels=LABELS, empty=True):
    """`root/r` and `root/p`, n cases of PNG and dataset.json; the first prediction is empty, the second case both."""
    for index in range(n):
        reference, prediction = label_maps(index)
        if empty and index < 2:
            prediction[:] = 0
            reference[:] *= 1 - index
        if "ignore" in labels:
            reference[:7, 5:30] = labels["ignore"]
        save(root / "r" / f"case_{index}.png", reference)
        save(root / "p" / f"case_{index}.png", prediction)
    dataset_json(root / "p", labels, regions_class_order=[1, 2])
    return root / "r", root / "p"
