"""OVeNet on HRNet at full size, on torch's meta device: parameters, MACs, timm's tensors, reach."""

import json

import pytest
import timm
import torch
from support import REFERENCE, architecture

from nnunet_ext.architectures.complexity import count_macs, count_parameters
from nnunet_ext.architectures.published.ovenet_hrnet import PAPERS_BRANCH, OVeNetHRNetSpec, largest_offset
from nnunet_ext.architectures.topology import Topology

reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
PREFIX = "offset_branch.seg_layers."
FULL = {  # name in the reference's counts, parameters, trainable with `frozen`, tensors of the state dict
    OVeNetHRNetSpec(): ("OVeNet-HRNet b4 (released: stage4_2 has 2 modules)", 98_795_926, 32_936_547, 2430),
    OVeNetHRNetSpec(branch_modules=(3, 3)): (
        *("OVeNet-HRNet b4, stage4_2 with 3 modules", 114_670_678, 48_811_299, 2718),
    ),
    OVeNetHRNetSpec(branch=3): (
        *("OVeNet-HRNet b3 (released: stage3_2 3, stage4_2 2 modules)", 110_463_478, 44_604_099, 2994),
    ),
    OVeNetHRNetSpec(branch=3, branch_modules=PAPERS_BRANCH): (
        *("OVeNet-HRNet b3, stage3_2 with 4, stage4_2 with 3 modules", 130_171_990, 64_312_611, 3468),
    ),
    OVeNetHRNetSpec(ocr=True): ("OVeNet-HRNet+OCR b4 (released)", 103_309_225, 32_936_547, 2481),
}


@pytest.fixture(scope="module")
def full():
    """The full networks on torch's meta device, 19 outputs, for patches of 512 x 1024."""
    plan = Topology.from_plan(architecture(2), (512, 1024))
    with torch.device("meta"):
        return {spec: spec.build(plan, 3, 19, False) for spec in FULL}


def test_published_numbers(full):
    for spec, (name, parameters, in_branch, tensors) in FULL.items():
        network = full[spec]
        assert count_parameters(network) == parameters, name
        assert count_parameters(network.offset_branch) == in_branch, name
        assert len(network.state_dict()) == tensors, name


def counts():
    return {n["name"]: n for n in json.loads((REFERENCE / "ovenet_counts.json").read_text())["networks"]}


@reference
def test_parameters_by_part(full):
    for spec, (name, *_) in FULL.items():
        given = counts()[name]
        parts = dict(full[spec].named_children()) | dict(full[spec].offset_branch.seg_layers)
        assert {k: count_parameters(parts[k]) for k in given["params_by_part"]} == given["params_by_part"], name
        assert (given["params"], given["params_offset_branch_only"], given["state_dict_tensors"]) == FULL[spec][1:]


@pytest.mark.parametrize(
    ("spec", "size", "macs"),
    [
        (OVeNetHRNetSpec(), (512, 1024), 252_075_048_960),
        (OVeNetHRNetSpec(ocr=True), (540, 960), 385_755_338_240 + 630_374_400),  # convolutions, matrix products
    ],
    ids=["b4", "ocr"],
)
def test_published_macs(full, spec, size, macs):
    assert count_macs(full[spec], (3, *size)) == macs


@pytest.mark.slow
@reference
@pytest.mark.parametrize("spec", FULL, ids=[v[0] for v in FULL.values()])
def test_macs_at_every_size(full, spec):
    for case in counts()[FULL[spec][0]]["macs"]:
        assert count_macs(full[spec], (3, *case["input"])) == case["conv_macs"] + case["matmul_macs"], case["input"]


def test_every_backbone_tensor_of_timms_w48_is_taken(full):
    with torch.device("meta"):
        theirs = timm.create_model("hrnet_w48").state_dict()
    for spec, network in full.items():
        ours = network.state_dict()
        sources = {k: s for k in ours if (s := network.source(k))}
        assert len(set(sources.values())) == 1830
        assert all(ours[k].shape == theirs[s].shape for k, s in sources.items())
        rest = {k.split(".")[0] for k in ours.keys() - sources.keys() if not k.startswith(PREFIX)}
        assert rest == ({"last_layer"} if not spec.ocr else {"conv3x3_ocr", "ocr_distri_head", "cls_head", "aux_head"})
        network.take(theirs)
        assert network.name == "hrnet_w48"


@reference
def test_reach_at_other_taus_and_sizes():
    given = json.loads((REFERENCE / "ovenet_counts.json").read_text())["offset_reach"]
    assert len(given) == 12
    for case in given:
        largest = largest_offset(case["input"], case["tau"])
        small, size = case["feature_map_stride4"], case["input"]
        found = [o * (n - 1) / (m - 1) for o, n, m in zip(largest, size, small, strict=True)]
        assert found == pytest.approx(case["max_offset_px_rows_cols"], rel=1e-6), case
