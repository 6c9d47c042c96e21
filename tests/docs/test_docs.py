"""The documentation says what is true: links, names, commands, targets, counts, examples, versions."""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

import nnunet_ext
from nnunet_ext import cli
from nnunet_ext.architectures.network import ComposedSpec
from nnunet_ext.trainers import naming
from nnunet_ext.trainers.base import topology_of
from nnunet_ext.trainers.describe import example_plans
from nnunet_ext.trainers.naming import COMPOSITION, PARTS, PRESETS, STOCK, Part, resolve

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
IDS = [str(p.relative_to(ROOT)) for p in PAGES]

NNUNETS_OWN = {  # names in the text that are nnU-Net's, not ours
    "nnUNetTrainer",
    "nnUNetTrainer_1epoch",
    "nnUNetTrainer_10epochs",
    "nnUNetTrainer_100epochs",
}
IN_EXAMPLES = {"nnUNetTrainerExt_Additive", "nnUNetTrainerExt_Plain_Additive", "nnUNetTrainerAdditive", "SLUNet3of8"}
AS_PLANNED = "as planned"  # parameters of a network on the plan's encoder
PLANNED: set[str] = set()  # trainers that a page may name before they exist; say "planned" beside each
NO_TRAINER = {"nnUNetTrainerExt"}  # the base class
PLACEHOLDERS = {"NAME"}
SIZE = (3, 512, 512)

each_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


def text_of(page):
    return page.read_text(encoding="utf-8")


def code_blocks(page, language=None):
    """(language, content) of the fenced blocks, indented ones included."""
    found = re.findall(r"^[ ]*```(\w*)\n(.*?)^[ ]*```", text_of(page), re.MULTILINE | re.DOTALL)
    return [(kind, content) for kind, content in found if language in (None, kind)]


def prose(page):
    """The text without its fenced blocks."""
    return re.sub(r"^[ ]*```.*?^[ ]*```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def tables(page):
    """The tables of a page: lists of rows, each a list of cells, the line of dashes left out."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", prose(page), re.MULTILINE)
    split = [[[c.strip() for c in line.strip("|").split("|")] for line in b.strip().splitlines()] for b in blocks]
    return [[row for row in table if not set("".join(row)) <= set("-: ")] for table in split]


def command_lines(page):
    """Lines of code blocks, and code in the text, that begin with our command; comments taken off.

    In the text, a command without its required options (`nnunet_ext convert`) is a mention and is left out.
    """
    lines = [line for kind, block in code_blocks(page) if kind != "python" for line in block.splitlines()]
    names = (
        "convert", "export", "inspect lifting", "inspect ife", "import-weights", "plan --two-stage", "cascade train",
        "cascade validate",
    )  # fmt: skip
    mentions = {f"nnunet_ext {name}" for name in names}
    lines += [c for c in re.findall(r"`(nnunet_ext [^`]+)`", prose(page)) if c not in mentions]
    lines += re.findall(r"\$\((nnunet_ext [^)]+)\)", text_of(page))
    return [words for words in (shlex.split(line, comments=True) for line in lines if "nnunet_ext " in line)
            if words and words[0] == "nnunet_ext"]  # fmt: skip


def test_there_are_pages():
    assert {"README.md", "CHANGELOG.md", "docs/getting_started.md", "docs/methods/spatial_lifting.md"} <= set(IDS)


@each_page
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f"{target}: no such file"
        assert linked.is_relative_to(ROOT), f"{target} leaves the repository"
        if anchor:
            assert anchor in anchors(linked), f"{target}: the headings there give {sorted(anchors(linked))}"


@each_page
def test_files_named_in_the_text_exist(page):
    for name in re.findall(r"`((?:nnunet_ext|tests|docs)/[\w./]+)`", prose(page)):
        if not name.endswith("additive.py"):
            assert (ROOT / name).exists(), f"{name} does not exist"
    rooms = "architectures|encoders|decoders|heads|lifting|published|losses|trainers|cascade|planning"
    for name in re.findall(rf"`((?:{rooms})/[\w./]+\.py)`", prose(page)):
        package = ROOT / "nnunet_ext"
        assert any((folder / name).is_file() for folder in (package, package / "architectures")), name


@each_page
def test_trainer_names_resolve(page):
    text = text_of(page)
    words = {word.split("__")[0] for word in re.findall(r"nnUNetTrainer\w*", text)}  # TRAINER__PLANS__CONFIGURATION
    names = {w for w in words if not w.endswith("_")}  # "nnUNetTrainerExt_<parts>" ends in "_" here
    names |= set(re.findall(r"-tr[ ]+(\w+)", text)) - PLACEHOLDERS
    for name in names - NNUNETS_OWN - PLANNED - IN_EXAMPLES - NO_TRAINER:
        assert resolve(name).__name__ == name
    for name in names & PLANNED:
        assert re.search(rf"{name}\b[^\n]*planned|planned[^\n]*{name}\b", text, re.IGNORECASE), name


def test_the_lists_of_exceptions_are_true():
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = f"{nnunetv2.__path__[0]}/training/nnUNetTrainer"
    for name in NNUNETS_OWN:
        assert recursive_find_python_class(folder, name, "nnunetv2.training.nnUNetTrainer") is not None
    for name in PLANNED | IN_EXAMPLES | NO_TRAINER:
        with pytest.raises(naming.TrainerNameError):
            resolve(name)


@each_page
def test_commands_parse(page):
    for words in command_lines(page):
        try:
            cli._parser().parse_args(words[1:])
        except SystemExit as stop:
            if stop.code != 0:  # 0: --version, --help
                pytest.fail(f"{shlex.join(words)} does not parse")
            assert words[1] in ("--version", "--help")


def test_every_command_is_documented():
    documented = {words[1] for page in PAGES for words in command_lines(page)}
    (subparsers,) = cli._parser()._subparsers._group_actions
    assert set(subparsers.choices) <= documented


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    used = re.findall(r"`make ([a-z]+)[^`]*`", prose(page))
    used += [m for _, block in code_blocks(page) for m in re.findall(r"^make ([a-z]+)", block, re.MULTILINE)]
    assert set(used) <= targets


@each_page
def test_nothing_of_one_machine(page):
    assert not re.search(r"/(?:work|tmp|root|home)/", text_of(page))


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/reference/trainer_names.md"], ids=str)
def test_trainer_tables_list_the_presets(page):
    rows = [row for table in tables(page) if table[0][0] == "trainer" for row in table[1:]]
    assert [row[0].strip("`") for row in rows] == list(PRESETS)


def test_reference_lists_parts_and_paper_recipes():
    page = ROOT / "docs/reference/trainer_names.md"
    (parts,) = [table[1:] for table in tables(page) if table[0][:2] == ["slot", "part"]]
    assert [(row[0], row[1].strip("`")) for row in parts] == [(p.slot, p.name) for p in PARTS]
    (presets,) = [table[1:] for table in tables(page) if table[0][0] == "trainer"]
    for name, _, paper in presets:
        assert (paper == "yes") == (resolve(name.strip("`")).paper_recipe is not None)


def on_meta(spec):
    """The network for RGB and one output, without memory for its weights."""
    plans, _ = example_plans()
    topology = topology_of(PlansManager(plans).get_configuration("2d"))
    with torch.device("meta"):
        return spec.build(topology, SIZE[0], 1, False)


def test_readme_parameters():
    from nnunet_ext.architectures.complexity import count_parameters

    (table,) = [t for t in tables(ROOT / "README.md") if t[0][0] == "trainer"]
    for name, _, count in table[1:]:
        spec = resolve(name.strip("`")).spec
        if spec is None or isinstance(spec, ComposedSpec):
            assert count == AS_PLANNED
        else:
            assert f"{count_parameters(on_meta(spec)):,}" == count


def test_spatial_lifting_counts():
    from nnunet_ext.architectures.complexity import count_macs, count_parameters, count_thop_macs

    (table,) = [t for t in tables(ROOT / "docs/methods/spatial_lifting.md") if t[0][1] == "parameters"]
    assert len(table) == 9
    for name, parameters, thop, convolutions in table[1:]:
        kind, size = name.split()
        spec = resolve({"UNet": f"{STOCK}MonaiUNet_", "SL-UNet": f"{STOCK}SLUNet_"}[kind] + size).spec
        found = count_parameters(on_meta(spec)), count_thop_macs(on_meta(spec), SIZE), count_macs(on_meta(spec), SIZE)
        assert [f"{n:,}" for n in found] == [parameters, thop, convolutions]


def test_m2snet_counts_as_published():
    from nnunet_ext.architectures.complexity import count_macs, count_parameters
    from nnunet_ext.architectures.published.msnet import MSNetSpec

    (table,) = [t for t in tables(ROOT / "docs/methods/m2snet.md") if t[0][0] == "network, one output"]
    specs = (MSNetSpec(scales=(1,)), MSNetSpec(), MSNetSpec(filter="dense"))
    for spec, (_, *said) in zip(specs, table[1:], strict=True):
        found = [count_parameters(on_meta(spec))]
        found += [count_macs(on_meta(spec), (3, size, size)) for size in (256, 352)]
        assert [f"{n:,}" for n in found] == said


def test_m2snet_counts_on_nnunets_plans():
    from support import architecture

    from nnunet_ext.architectures.complexity import count_macs, count_parameters
    from nnunet_ext.architectures.topology import Topology

    (table,) = [t for t in tables(ROOT / "docs/methods/m2snet.md") if t[0][-1] == "feature maps, M"]
    plans = {
        "2D": ([32, 64, 128, 256, 512, 512, 512, 512], [512, 512], 3, 2),
        "3D": ([32, 64, 128, 256, 320, 320], [128, 128, 128], 1, 3),
    }
    trainers = {"nnU-Net's own": "Ext_Plain_UNet", "MSNet": "MSNet", "M2SNet": "M2SNet"}
    assert len(table) == 7
    for name, *said in table[1:]:
        dims, _, network = name.partition(", ")
        features, patch, channels, outputs = plans[dims]
        n = len(features)
        kwargs = architecture(len(patch))["arch_kwargs"] | {
            "n_stages": n, "features_per_stage": features, "n_conv_per_stage": [2] * n,
            "n_conv_per_stage_decoder": [2] * (n - 1), "kernel_sizes": [[3] * len(patch)] * n,
            "strides": [[1] * len(patch)] + [[2] * len(patch)] * (n - 1),
        }  # fmt: skip
        topology = Topology.from_plan({**architecture(len(patch)), "arch_kwargs": kwargs}, patch)
        with torch.device("meta"):
            built = resolve(f"{STOCK}{trainers[network]}").spec.build(topology, channels, outputs, False)
        found = (
            count_parameters(built),
            built.compute_conv_feature_map_size(patch),
            count_macs(built, (channels, *patch)),
        )
        assert [f"{found[0]:,}", f"{found[2] / 1e9:.3f}", f"{found[1] / 1e6:.1f}"] == said


def test_the_m2snet_recipe_is_as_documented():
    from nnunet_ext.trainers.m2snet import PAPER_RECIPE, PAPER_RECIPE_PRETRAINED

    (table,) = [t for t in tables(ROOT / "docs/methods/m2snet.md") if t[0][1] == "`_paper`"]
    said = {row[0]: row[1] for row in table[1:]}
    factor = PAPER_RECIPE_PRETRAINED.encoder_lr_factor
    assert said["learning rate"].startswith(f"{PAPER_RECIPE.initial_lr}; {PAPER_RECIPE.initial_lr * factor:.3f} for")
    assert said["epochs"].startswith(f"{PAPER_RECIPE.num_epochs} of {PAPER_RECIPE.num_iterations_per_epoch} iterations")
    assert "weight decay 5e-4" in said["optimiser"]
    assert PAPER_RECIPE.weight_decay == 5e-4


def test_suffixes_are_documented_in_their_order():
    from nnunet_ext.trainers.suffixes import SUFFIXES

    for page in (ROOT / "README.md", ROOT / "docs/reference/trainer_names.md"):
        (table,) = [t for t in tables(page) if t[0][0] == "suffix"]
        listed = [name for row in table[1:] for name in row[0].replace("`", "").split(", ")]
        assert listed == list(SUFFIXES)


def test_the_paper_recipe_is_as_documented():
    from nnunet_ext.trainers.spatial_lifting import PAPER_RECIPE

    (table,) = [t for t in tables(ROOT / "docs/methods/spatial_lifting.md") if t[0][1] == "`_paper`"]
    said = {row[0]: row[1] for row in table[1:]}
    assert said["epochs"].startswith(f"{PAPER_RECIPE.num_epochs},")
    assert said["optimiser"] == "AdamW, learning rate 1e-3"
    assert PAPER_RECIPE.initial_lr == 1e-3
    assert float(said["weight decay"]) == PAPER_RECIPE.weight_decay


def test_example_of_a_new_decoder_works(monkeypatch):
    """What docs/how_to/add_a_method.md shows, put where it says."""
    page = ROOT / "docs/how_to/add_a_method.md"
    decoder, part, preset, recipe = [content for _, content in code_blocks(page, "python")]
    module = types.ModuleType("nnunet_ext.architectures.decoders.additive")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(decoder, "additive.py", "exec"), module.__dict__)
    new = eval(part, {"Part": Part})
    monkeypatch.setattr(naming, "PARTS", (*PARTS, new))
    monkeypatch.setattr(naming, "_resolved", {})
    presets: dict = {"__name__": "nnunet_ext.trainers.presets"}
    exec(compile(preset, "presets.py", "exec"), presets)
    exec(recipe, {})
    assert "Additive" in naming.suggestions("nnUNetTrainerExt_Nothing")
    for name in (f"{COMPOSITION}_Additive", f"{COMPOSITION}_Plain_Additive_3epochs"):
        check_composition(naming.resolve(name))
    check_composition(presets["nnUNetTrainerAdditive"])


def check_composition(trainer):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from support import make_plans

    from nnunet_ext.trainers.base import topology_of

    for patch in ([32, 48], [16, 16, 8]):
        manager = PlansManager(make_plans(patch))
        (configuration,) = manager.plans["configurations"]
        topology = topology_of(manager.get_configuration(configuration))
        network = trainer.spec.build(topology, 3, 2, True)
        x = torch.randn(2, 3, *patch)
        scales = network(x)
        assert [tuple(s.shape[2:]) for s in scales] == [tuple(p // 2**i for p in patch) for i in range(len(scales))]
        sum(s.square().mean() for s in scales).backward()
        assert all(p.grad is not None for p in network.parameters())
        network.decoder.deep_supervision = False
        assert network.eval()(x).shape == (2, 2, *patch)


def test_python_blocks_compile():
    blocks = [(page, block) for page in PAGES for _, block in code_blocks(page, "python")]
    assert blocks
    for page, block in blocks:
        compile(block, str(page), "exec")  # raises SyntaxError


def test_plans_example_is_valid_json():
    import json

    blocks = [block for page in PAGES for _, block in code_blocks(page, "json")]
    assert blocks
    for block in blocks:
        assert json.loads("{" + block + "}")["2d_cpu"]["inherits_from"] == "2d"


def test_citation():
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == nnunet_ext.__version__
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        for author in reference["authors"]:
            assert all(isinstance(v, str) for v in author.values())  # an unquoted Y is a boolean


def test_changelog_has_this_version():
    headings = re.findall(r"^## \[([^\]]+)\]", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert nnunet_ext.__version__ in headings


def test_changelog_names_every_preset():
    text = text_of(ROOT / "CHANGELOG.md")
    assert [name for name in PRESETS if not re.search(rf"{name}\b", text)] == []


def test_every_page_is_in_the_index():
    index = ROOT / "docs/README.md"
    linked = {(index.parent / t).resolve() for t in re.findall(r"\]\(([^)\s#]+)\)", text_of(index))}
    assert linked == {p for p in (ROOT / "docs").rglob("*.md") if p != index}
