"""Offset vectors beside a prediction: added over passes, windows and folds, and brought to the file's grid."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from nnunetv2.inference import predict_from_raw_data as host
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from PIL import Image
from torch import nn
from torch._dynamo import OptimizedModule

from nnunet_ext.architectures.heads.offset_vectors import Refined
from nnunet_ext.inference import offset_picture
from nnunet_ext.inference.offset_fields import OffsetFields, OffsetGatherer
from nnunet_ext.inference.offset_maps import OffsetMaps, maps_of
from nnunet_ext.inference.offset_report import OffsetError, OffsetReport
from nnunet_ext.inference.report import QualityReport
from nnunet_ext.inference.scales import Scales

N_OUTPUTS = {"binary": 2, "three": 4, "regions": 2}
GAIN = 3.0  # voxels of offset for a difference of 1 between the neighbours
DRAW = offset_picture.draw


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Drawing takes most of a test's time."""
    monkeypatch.setattr(offset_picture, "draw", lambda file, name, maps: file.write(name.encode()))


class Toy(nn.Module):
    """Offsets along an axis are the image's difference of both neighbours; it is refined to nothing in particular."""

    channels = 1

    def __init__(self, dims, n_outputs=2, seed=0, uneven=0.0):
        super().__init__()
        torch.manual_seed(seed)
        convolve = nn.Conv2d if dims == 2 else nn.Conv3d
        self.scores = convolve(1, n_outputs, 1)
        nn.init.normal_(self.scores.weight)
        self.confidence = convolve(1, 1, 1)
        self.difference = convolve(1, dims, 3, padding=1, bias=False)
        self.difference.weight.data.mul_(uneven)  # of random weights: not the same when mirrored
        for axis in range(dims):
            middle = [1] * dims
            for place, sign in ((0, -1), (2, 1)):
                middle[axis] = place
                self.difference.weight.data[(axis, 0, *middle)] += sign * GAIN

    def refined(self, x):
        initial, confidence = self.scores(x), self.confidence(x)
        return Refined(initial * 2 + confidence, initial, -initial, confidence, self.difference(x))

    def forward(self, x):
        return self.refined(x).fused


class Heard(OffsetReport):
    """Keeps what it hears."""

    def __init__(self):
        super().__init__()
        self.cases, self.failures = {}, {}

    def case(self, name, found, image):
        self.cases[name] = found

    def failed(self, name, why):
        self.failures[name] = why


def predict(predictor, image, name="case"):
    predictor.expect([name])
    return predictor.predict_logits_from_preprocessed_data(image)


# ---------------------------------------------------------------------------------------------- passes, windows, folds


def by_hand(networks, image, patch, mirror_axes):
    """Initial logits and fields, window by window and pass by pass, in float64; windows of half overlap."""
    size, n = image.shape[1:], len(patch)
    weight = compute_gaussian(patch, sigma_scale=1 / 8, value_scaling_factor=10, device="cpu").double()
    places = [range(0, s - p + 1, p // 2) for s, p in zip(size[3 - n :], patch, strict=True)]
    places = [range(size[0]), *places] if n == 2 else places
    flips = [f for k in range(len(mirror_axes) + 1) for f in itertools.combinations(mirror_axes, k)]
    folds = []
    for network in networks:
        network = network.double()
        sums, weights = 0, torch.zeros(size, dtype=torch.float64)
        for place in itertools.product(*places):
            window = tuple(slice(p, p + s) for p, s in zip(place[-n:], patch, strict=True))
            window = window if n == 3 else (place[0], *window)
            found = 0
            for flip in flips:
                axes = [a + 2 for a in flip]
                refined = network.refined(torch.flip(image[(slice(None), *window)][None].double(), axes))
                offsets = torch.flip(refined.offsets, axes)
                for axis in flip:
                    offsets[:, axis] *= -1
                f = 1 / (1 + torch.exp(-torch.flip(refined.confidence, axes)))
                found = found + torch.cat([torch.flip(refined.initial, axes), offsets, f], 1)[0] / len(flips)
            one = torch.zeros(len(found), *size, dtype=torch.float64)
            one[(slice(None), *window)] = found * weight
            sums = sums + one
            weights[window] += weight
        folds.append(sums / weights)
        network.float()
    return sum(folds) / len(folds)


@pytest.mark.parametrize("labels", ["three", "regions"])
@pytest.mark.parametrize(
    ("n_folds", "patch", "size", "mirror_axes"),
    [
        (1, (16, 16), (1, 16, 16), (0, 1)),
        (1, (16, 16), (1, 24, 32), (1,)),
        (2, (16, 16), (3, 16, 24), ()),
        (2, (8, 8, 8), (8, 12, 16), (0, 1, 2)),
    ],
    ids=["one window", "windows", "folds and planes", "volume"],
)
@torch.inference_mode()
def test_fields_are_added_as_nnunet_adds_logits(predictor_of, labels, n_folds, patch, size, mirror_axes):
    heard = Heard()
    networks = [Toy(len(patch), N_OUTPUTS[labels], seed, uneven=2.0).eval() for seed in range(n_folds)]
    options = {"mirror_axes": mirror_axes or None}
    ours = predictor_of(networks, patch, labels, heard, **options)
    image = torch.randn(1, *size)
    logits = predict(ours, image)
    expected = predict_stock(predictor_of, networks, patch, labels, image, **options)
    assert torch.equal(logits, expected)
    found = heard.cases["case"]
    assert torch.equal(found.logits, expected)
    k, weights = N_OUTPUTS[labels], by_hand(networks, image, patch, mirror_axes)
    inside = (slice(None), *[slice(1, -1) if s > 2 else slice(None) for s in size])  # corners have almost no weight
    torch.testing.assert_close(found.fields.double()[inside], weights[k:][inside], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.initial.double()[inside], weights[:k][inside], atol=2e-2, rtol=2e-2)
    assert found.initial.dtype == torch.half
    assert found.fields.dtype == torch.float32
    assert found.fields[:-1].abs().mean() > 1


def predict_stock(predictor_of, networks, patch, labels, image, **options):
    return predictor_of(networks, patch, labels, stock=True, **options).predict_logits_from_preprocessed_data(image)


@pytest.mark.parametrize("patch", [(16, 16), (8, 8, 8)])
@torch.inference_mode()
def test_mirroring_is_undone(predictor_of, patch):
    """The toy sees the same vectors in a mirrored image, so that mirrored passes change nothing."""
    fields = []
    image = torch.randn(1, 1, 16, 16) if len(patch) == 2 else torch.randn(1, 8, 8, 8)
    for use_mirroring in (True, False):
        heard = Heard()
        axes = tuple(range(len(patch)))
        ours = predictor_of([Toy(len(patch))], patch, "binary", heard, mirror_axes=axes, use_mirroring=use_mirroring)
        predict(ours, image)
        fields.append(heard.cases["case"].fields)
    torch.testing.assert_close(*fields)
    assert fields[0][:-1].abs().mean() > 1


@torch.inference_mode()
def test_images_smaller_than_the_patch_are_cut_as_nnunet_cuts_them(predictor_of):
    heard, network = Heard(), Toy(2)
    image = torch.randn(1, 1, 11, 14)
    predict(predictor_of([network], (16, 16), "binary", heard), image)
    expected = network.difference(image)[0, :, None]
    torch.testing.assert_close(heard.cases["case"].fields[:-1], expected)


@torch.inference_mode()
def test_one_forward_pass_gives_both(predictor_of):
    heard, network, passes = Heard(), Toy(2), []
    ours = predictor_of([network], (16, 16), "binary", heard, mirror_axes=(0, 1))
    ours.network.scores.register_forward_hook(lambda *_: passes.append(1))
    predict(ours, torch.randn(1, 1, 16, 24))
    assert len(passes) == 2 * 4


@torch.inference_mode()
def test_a_compiled_network_is_looked_into(predictor_of, monkeypatch):
    heard, image = Heard(), torch.randn(1, 1, 16, 16)
    expected = predict_stock(predictor_of, [Toy(2)], (16, 16), "binary", image)
    monkeypatch.setenv("nnUNet_compile", "t")
    monkeypatch.setattr(torch, "compile", lambda module, **_: torch._dynamo.optimize("eager")(module))
    ours = predictor_of([Toy(2)], (16, 16), "binary", heard)
    assert isinstance(ours.network, OptimizedModule)
    assert isinstance(ours._gatherer.network, OptimizedModule)
    torch.testing.assert_close(predict(ours, image), expected)
    assert heard.cases.keys() == {"case"}


@pytest.mark.parametrize("n_folds", [1, 2])
@torch.inference_mode()
def test_offsets_that_cannot_be_gathered_leave_nnunets_prediction(predictor_of, n_folds, monkeypatch):
    heard, calls = Heard(), []
    networks = [Toy(2, seed=seed) for seed in range(n_folds)]
    ours = predictor_of(networks, (16, 16), "binary", heard)
    image = torch.randn(1, 1, 24, 24)
    expected = predict_stock(predictor_of, networks, (16, 16), "binary", image)
    plain = ours._gatherer.network

    class Full(nn.Module):
        def forward(self, x):
            calls.append(1)
            if len(calls) > 4 * (n_folds - 1) + 2:  # in the last fold
                raise torch.OutOfMemoryError("CUDA out of memory")
            return plain(x)

    ours._gatherer.network = Full()
    assert torch.equal(predict(ours, image), expected)
    assert heard.failures == {"case": "OutOfMemoryError: CUDA out of memory"}
    assert heard.cases == {}
    ours._gatherer.network = plain
    assert torch.equal(predict(ours, image, "second"), expected)
    assert heard.cases.keys() == {"second"}


@torch.inference_mode()
def test_scores_beyond_half_precision_are_noticed():
    windows = OffsetGatherer(Toy(2)).windows((1, 4, 4), [(slice(None), 0, slice(0, 4), slice(0, 4))], 10.0, "cpu")
    windows.add((torch.full((1, 2, 4, 4), 1e5), torch.zeros(1, 3, 4, 4)), 1)
    with pytest.raises(RuntimeError, match="too large for half precision"):
        windows.result((slice(None),) * 3)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerOVeNet", "nnUNetTrainerExt_M2S_OVeShared20"])
@torch.inference_mode()
def test_networks_of_the_trainers_tell_their_offsets(make_predictors, trainer):
    heard, image = Heard(), torch.randn(3, 1, 16, 24)
    stock, ours, _, (network,) = make_predictors("three", trainer=trainer, listener=heard)
    assert torch.equal(predict(ours, image), stock.predict_logits_from_preprocessed_data(image))
    found = heard.cases["case"]
    largest = network.refinement.max_offset
    assert found.fields.shape == (3, 1, 16, 24)
    assert bool((found.fields[:2].abs().amax((1, 2, 3)) <= largest.flatten()).all())
    assert found.fields[:2].abs().max() > 1e-3
    assert 0 <= found.fields[2].min() < found.fields[2].max() <= 1
    assert not torch.equal(found.initial, found.logits)


# ---------------------------------------------------------------------------------------------- the file's grid


def grid(shape, crop, spacing, transpose=(0, 1, 2)):
    """Changes to plans, and properties as nnU-Net's preprocessing gives them; shape and crop in the plan's axes."""
    backward = [transpose.index(axis) for axis in range(3)]
    plans = {"transpose_forward": list(transpose), "transpose_backward": backward}
    properties = {
        "spacing": spacing,
        "shape_before_cropping": shape,
        "bbox_used_for_cropping": crop,
        "shape_after_cropping_and_before_resampling": [high - low for low, high in crop],
    }
    return plans, properties


def to_file(points, crop, planned, transpose):
    """Positions `(3, N)` of the plan's grid as positions in the file, by the definition of each step."""
    rows = []
    for axis, (low, high) in enumerate(crop):
        stretched = (points[axis] + 0.5) * (high - low) / planned[axis] - 0.5  # resampling keeps the borders
        rows.append(stretched + low)
    placed = [None] * 3
    for axis, original in enumerate(transpose):  # the plan's axis `axis` is the file's `transpose[axis]`
        placed[original] = rows[axis]
    return np.stack(placed)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (1, 0, 2)])
@torch.inference_mode()
def test_a_vector_ends_where_its_end_lies_in_the_file(predictor_of, transpose):
    crop, planned = [[1, 9], [2, 8], [0, 10]], (4, 12, 20)
    plans, properties = grid((10, 9, 10), crop, (1.0, 1.0, 1.0), transpose)
    vector = np.array([0.5, -2.0, 3.0])
    found = OffsetFields()
    places = torch.stack(torch.meshgrid(*(torch.arange(float(s)) for s in planned), indexing="ij"))
    ramp = places.sum(0, keepdim=True) / 40
    constant = torch.tensor(vector).float().view(3, 1, 1, 1).expand(3, *planned)
    found.add(torch.zeros(2, *planned), torch.cat([constant, ramp]))
    found.close(torch.stack([torch.zeros(planned), ramp[0] - 0.5]))
    ours = predictor_of([Toy(3)], (8, 8, 8), "binary", plans=plans, stock=True)
    maps = maps_of(found, ramp, properties, ours)
    back = [transpose.index(a) for a in range(3)]
    assert maps.offsets.shape == (3, *np.array([10, 9, 10])[back])
    assert (maps.axes, maps.plane_axis) == ((0, 1, 2), transpose[0])
    ends = places.numpy() + vector[:, None, None, None]
    start, end = (to_file(p, crop, planned, transpose) for p in (places.numpy(), ends))
    expected = (end - start).reshape(3, -1)
    assert np.ptp(expected, axis=1).max() < 1e-5
    inside = np.zeros(maps.confidence.shape, bool)
    inside[tuple(slice(*crop[axis]) for axis in back)] = True
    np.testing.assert_allclose(maps.offsets[:, inside], np.broadcast_to(expected[:, :1], (3, inside.sum())), rtol=1e-5)
    assert not maps.offsets[:, ~inside].any()
    assert not maps.confidence[~inside].any()
    # the ramp tells the place: each file voxel's value is that of the position in the plan which lies there
    for plan_place in ((1, 3, 4), (2, 8, 15)):
        place = to_file(np.array(plan_place, float)[:, None], crop, planned, transpose)[:, 0]
        near = place.round().astype(int)
        step = np.array([(crop[axis][1] - crop[axis][0]) / planned[axis] for axis in back])
        value = ramp[(0, *plan_place)].item() + ((near - place) / step).sum() / 40
        assert maps.confidence[tuple(near)] == pytest.approx(value, abs=1e-5)
        assert maps.predicted[tuple(near)] == (value > 0.5)
    assert maps.initial.dtype == np.uint8
    assert not maps.initial.any()
    np.testing.assert_array_equal(maps.changed, maps.predicted == 1)


@pytest.mark.parametrize(("transpose", "axes"), [((0, 1, 2), (1, 2)), ((2, 0, 1), (0, 1)), ((1, 2, 0), (0, 2))])
@torch.inference_mode()
def test_in_plane_vectors_name_their_axes(predictor_of, transpose, axes):
    crop, planned = [[0, 2], [0, 6], [1, 9]], (2, 12, 4)
    plans, properties = grid((2, 6, 9), crop, (1.0, 1.0, 1.0), transpose)
    found = OffsetFields()
    fields = torch.tensor([2.0, 3.0, 0.25]).view(3, 1, 1, 1).expand(3, *planned)
    found.add(torch.zeros(2, *planned), fields)
    found.close(torch.zeros(2, *planned))
    ours = predictor_of([Toy(2)], (16, 16), "binary", plans=plans, stock=True)
    maps = maps_of(found, fields[:1], properties, ours)
    assert maps.axes == axes
    assert maps.plane_axis == ({0, 1, 2} - set(axes)).pop()
    expected = {transpose[1]: 2.0 * 6 / 12, transpose[2]: 3.0 * 8 / 4}
    middle = tuple(s // 2 for s in maps.confidence.shape)
    assert [maps.offsets[(c, *middle)] for c in range(2)] == pytest.approx([expected[a] for a in axes])
    assert maps.confidence[middle] == pytest.approx(0.25)


@torch.inference_mode()
def test_regions_become_labels_in_nnunets_order(predictor_of):
    plans, properties = grid((1, 1, 4), [[0, 1], [0, 1], [0, 4]], (999.0, 1.0, 1.0))
    whole, core = torch.tensor([[-1.0, 1, 1, -1], [-1, -1, 1, 1]])
    found = OffsetFields()
    found.add(torch.stack([whole, core]).view(2, 1, 1, 4), torch.zeros(3, 1, 1, 4))
    found.close(torch.stack([whole, -torch.ones(4)]).view(2, 1, 1, 4))
    ours = predictor_of([Toy(2)], (16, 16), "regions", plans=plans, stock=True)
    maps = maps_of(found, torch.zeros(1, 1, 1, 4), properties, ours)
    assert maps.initial.ravel().tolist() == [0, 1, 2, 2]
    assert maps.predicted.ravel().tolist() == [0, 1, 1, 0]
    assert maps.changed.ravel().tolist() == [False, False, True, True]


# ---------------------------------------------------------------------------------------------- nnU-Net's commands


@torch.inference_mode()
def test_a_volume_through_nnunets_preprocessing_and_export(predictor_of, nnunet_folders):
    """A ramp along the file's last axis: vectors point along it, as long as the voxels there make them."""
    source, out = nnunet_folders / "in", nnunet_folders / "out"
    source.mkdir()
    values = np.zeros((12, 10, 14), np.float32)
    values[1:11, 2:9, 1:13] = 5 + np.arange(12)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 1.0, 1.0))  # of the last axis first
    sitk.WriteImage(image, str(source / "scan_0000.nii.gz"))
    plans = {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0],
             "foreground_intensity_properties_per_channel": {"0": {}}}  # fmt: skip
    said = []
    ours = predictor_of([Toy(3, 4)], (16, 16, 16), "three", OffsetReport(said.append), plans=plans)
    ours.dataset_json["file_ending"] = ".nii.gz"
    out.mkdir()
    ours.predict_from_files_sequential(str(source), str(out), False, True, None)
    assert said == []
    with np.load(out / "offsets" / "scan.npz") as found:
        arrays = dict(found)
    assert {k: (v.shape, str(v.dtype)) for k, v in arrays.items()} == {
        "offsets": ((3, *values.shape), "float16"), "axes": ((3,), "int64"),
        "confidence": (values.shape, "float16"), "initial": (values.shape, "uint8"),
    }  # fmt: skip
    assert arrays["axes"].tolist() == [0, 1, 2]
    segmentation = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "scan.nii.gz")))
    assert segmentation.shape == values.shape
    crop = values[1:11, 2:9, 1:13]
    slope = 1 / crop.std()  # a file voxel, normalised; two voxels of the plan
    inside = arrays["offsets"][:, 3:9, 4:7, 4:10].astype(np.float32)
    np.testing.assert_allclose(inside[2], GAIN * 2 * (slope / 2) / 2, rtol=0.05)
    np.testing.assert_allclose(inside[:2], 0, atol=1e-2)
    assert not arrays["offsets"][:, 0].any()
    assert sorted(p.name for p in (out / "offsets").iterdir()) == ["scan.npz", "scan.png"]


@torch.inference_mode()
def test_initial_labels_are_those_that_nnunet_would_have_written(predictor_of, nnunet_folders):
    class Unrefined(Toy):
        def refined(self, x):
            found = super().refined(x)
            return found._replace(fused=found.initial.clone())

    source, out = nnunet_folders / "in", nnunet_folders / "out"
    source.mkdir()
    out.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 26), dtype=np.uint8)).save(source / "photo_0000.png")
    plans = {"foreground_intensity_properties_per_channel": {"0": {}}}
    ours = predictor_of([Unrefined(2, 4)], (16, 16), "three", OffsetReport(), plans=plans, mirror_axes=(0, 1))
    ours.predict_from_files_sequential(str(source), str(out), False, True, None)
    with np.load(out / "offsets" / "photo.npz") as found:
        assert found["offsets"].shape == (2, 1, 20, 26)
        assert found["axes"].tolist() == [1, 2]
        initial = found["initial"]
    written = np.asarray(Image.open(out / "photo.png"))
    assert len(np.unique(written)) > 1
    np.testing.assert_array_equal(initial[0], written)


def test_worker_processes_tell_how_they_preprocessed(predictor_of, monkeypatch):
    items = [{"data_properties": {"number": i}} for i in range(2)]
    monkeypatch.setattr(host, "preprocessing_iterator_fromfiles", lambda *_: iter(items))
    ours = predictor_of([Toy(2)], (16, 16), "binary", OffsetReport())
    told = [(item, ours.properties) for item in ours._internal_get_data_iterator_from_lists_of_filenames([], [], [], 1)]
    assert told == [(item, item["data_properties"]) for item in items]


# ---------------------------------------------------------------------------------------------- files and words


PROPERTIES = grid((1, 16, 16), [[0, 1], [0, 16], [0, 16]], (999.0, 1.0, 1.0))[1]


def reported(predictor_of, folder, names=("case",), properties=PROPERTIES, before=lambda report, predictor: None):
    """Predict noise by a toy; returns the lines, and whether logits are nnU-Net's."""
    said, network = [], Toy(2, 4)
    report = OffsetReport(said.append)
    ours = predictor_of([network], (16, 16), "three", report)
    report.folder(str(folder), False)
    before(report, ours)
    for name in names:
        ours.properties = properties
        image = torch.randn(1, 1, 16, 16)
        logits = predict(ours, image, name)
        assert torch.equal(logits, predict_stock(predictor_of, [network], (16, 16), "three", image))
    report.finish()
    return said


def files(folder):
    return sorted(p.name for p in (folder / "offsets").iterdir())


def test_each_case_has_its_files(predictor_of, tmp_path):
    said = reported(predictor_of, tmp_path, ("a", "b"))
    assert files(tmp_path) == ["a.npz", "a.png", "b.npz", "b.png"]
    assert said == [f"offset vectors of 2 cases: {tmp_path / 'offsets'}"]


def test_a_picture_that_cannot_be_drawn_leaves_the_arrays(predictor_of, tmp_path, monkeypatch):
    def fail(file, name, maps):
        file.write(b"half a picture")
        raise ValueError("no fonts")

    (tmp_path / "offsets").mkdir()
    (tmp_path / "offsets" / "case.png").write_text("of an earlier prediction")
    monkeypatch.setattr(offset_picture, "draw", fail)
    said = reported(predictor_of, tmp_path)
    assert said[0] == "warning: no picture of the offsets of case (ValueError: no fonts)"
    assert files(tmp_path) == ["case.npz"]


def test_a_case_that_fails_keeps_no_files_of_an_earlier_prediction(predictor_of, tmp_path):
    (tmp_path / "offsets").mkdir()
    for name in ("case.npz", "case.png", "other.npz"):
        (tmp_path / "offsets" / name).write_text("of an earlier prediction")

    def break_network(report, predictor):
        predictor._gatherer.network = lambda x: 1 / 0

    said = reported(predictor_of, tmp_path, before=break_network)
    why = "ZeroDivisionError: division by zero"
    assert said == [f"warning: no offsets of case ({why}); its prediction is not affected",
                    "warning: 1 cases have no offsets: case"]  # fmt: skip
    assert files(tmp_path) == ["other.npz"]


def test_an_unknown_place_in_the_file_is_said(predictor_of, tmp_path):
    said = reported(predictor_of, tmp_path, properties=None)
    assert "nnU-Net does not say here how it preprocessed" in said[0]
    assert files(tmp_path) == []


def test_an_interrupted_run_leaves_nothing_half_written(predictor_of, tmp_path, monkeypatch):
    def interrupt(file, **arrays):
        file.write(b"half an array")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reported(predictor_of, tmp_path)
    assert files(tmp_path) == []


def test_a_file_in_the_folders_place_is_refused_before_work(predictor_of, tmp_path):
    (tmp_path / "offsets").write_text("")
    with pytest.raises(OffsetError, match=r"offsets, which cannot be made .* Move what stands there away"):
        reported(predictor_of, tmp_path)


def test_a_network_without_offsets_is_refused_before_work(make_predictors):
    message = r"--save-offsets needs a network with offset vectors.*nnUNetTrainerExt_Plain_UNet has none\. Leave --save"
    with pytest.raises(OffsetError, match=message):
        make_predictors(trainer="nnUNetTrainerExt_Plain_UNet", listener=OffsetReport())


def test_slices_of_a_lifted_network_have_no_offsets_of_one_image(make_predictors):
    with pytest.raises(OffsetError, match=r"of nnUNetTrainerExt_OVe_SL16, a lifted network, each slice has its own"):
        make_predictors(trainer="nnUNetTrainerExt_OVe_SL16", listener=OffsetReport())


def test_several_scales_are_refused_and_scale_1_is_not(predictor_of):
    with pytest.raises(OffsetError, match=r"--scales 0\.5 1 gives one at each scale\. Leave --scales or --save"):
        predictor_of([Toy(2)], (16, 16), "binary", OffsetReport(), scales=Scales((0.5, 1.0)))
    predictor_of([Toy(2)], (16, 16), "binary", OffsetReport(), scales=Scales((1.0,)))


@torch.inference_mode()
def test_quality_is_not_asked_of_a_network_with_offsets(predictor_of, tmp_path):
    said, heard = [], Heard()
    report = QualityReport(say=said.append)
    ours = predictor_of([Toy(2)], (16, 16), "binary", heard, report)
    ours._manage_input_and_output_lists([["x_0000.png"]], str(tmp_path))
    ours.predict_logits_from_preprocessed_data(torch.randn(1, 1, 16, 16))
    report.finish()
    assert heard.cases.keys() == {"x"}
    assert [p.name for p in tmp_path.iterdir()] == ["offsets"]
    assert len(said) == 1
    assert said[0].startswith("no quality.csv")


# ---------------------------------------------------------------------------------------------- the picture


def made_maps(changed_plane=2):
    shape = (4, 6, 5)
    initial = np.zeros(shape, np.uint8)
    predicted = initial.copy()
    predicted[changed_plane, 1, 2:4] = 1
    predicted[0, 0, 0] = 1
    offsets = np.stack([np.full(shape, v, np.float32) for v in (7, 2, -1)])
    zeros = np.zeros(shape, np.float32)
    return OffsetMaps(offsets, (0, 1, 2), zeros, initial, predicted, zeros, 0, (5.0, 2.0, 1.0))


def test_the_plane_with_most_changes_is_shown_with_its_own_components():
    plane = offset_picture.most_changed("scan", made_maps())
    assert plane.title.startswith("scan, plane 2 of 4 along axis 0")
    assert plane.changed.sum() == 2
    assert (plane.flow[0] == -1).all()  # dx, along columns
    assert plane.aspect == 2
    assert (plane.flow[1] == 2 * 2).all()  # dy, along rows, which are twice as high as wide


def test_the_picture_is_a_png(tmp_path):
    with open(tmp_path / "scan.png", "wb") as file:
        DRAW(file, "scan" * 50, made_maps())
    pixels = np.asarray(Image.open(tmp_path / "scan.png"))
    assert min(pixels.shape[:2]) > 600
    assert (pixels[..., :3] == (255, 25, 25)).all(-1).sum() > 500  # what changed


def test_colours_are_torchvisions_of_the_length_that_is_asked_for():
    from torchvision.utils import flow_to_image

    flow = np.random.default_rng(0).normal(size=(2, 9, 7)).astype(np.float32)
    length = np.hypot(*flow)
    expected = flow_to_image(torch.from_numpy(flow)).permute(1, 2, 0).numpy()
    assert np.abs(offset_picture.flow_colours(flow, length.max()).astype(int) - expected).max() <= 1
    half = offset_picture.flow_colours(flow, float(np.median(length)))
    longer = flow * (np.median(length) / length)
    bounded = np.where(length > np.median(length), longer, flow).astype(np.float32)
    expected = flow_to_image(torch.from_numpy(bounded)).permute(1, 2, 0).numpy()
    assert np.abs(half.astype(int) - expected).max() <= 1
    white = offset_picture.flow_colours(np.zeros((2, 3, 3), np.float32), 5.0)
    assert (white == 255).all()
