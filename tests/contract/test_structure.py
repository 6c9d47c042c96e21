"""The house: which room may import which, no prints, sizes, what the package holds."""

import ast
import subprocess
import sys

import pytest
from support import ROOT

PACKAGE = ROOT / "nnunet_ext"
FILES = sorted(PACKAGE.rglob("*.py"))
# a room may import itself and the rooms listed; a file at the top is a room of its own
MAY_IMPORT = {
    "architectures": {"weights"},
    "losses": {"weights"},
    "machine": set(),
    "parallel": set(),
    "weights": set(),
    "inference": {"architectures", "machine"},
    "cascade": {"architectures", "inference", "machine"},
    "planning": {"architectures", "cascade"},
    "trainers": {"architectures", "losses", "machine", "inference", "cascade", "weights"},
    "dataset_conversion": {"parallel"},
    "evaluation": {"parallel"},
    "environment": {"weights"},
    "run": {
        "architectures",
        "cascade",
        "trainers",
        "inference",
        "dataset_conversion",
        "evaluation",
        "environment",
        "machine",
        "parallel",
    },
    "cli": {
        "architectures",
        "cascade",
        "planning",
        "trainers",
        "inference",
        "dataset_conversion",
        "evaluation",
        "environment",
        "parallel",
        "run",
    },
    "_nnunet_plugin": {"trainers"},
    "__init__": set(),
}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nnunet_ext"):
            names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("nnunet_ext.")]
        for name in names:
            second = name.split(".")[1]
            if second != "__version__":
                yield second


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    assert room(path) in MAY_IMPORT, "a new room: say here what it may import"
    assert set(imported_rooms(path)) - {room(path)} <= MAY_IMPORT[room(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_one_class_each_subclasses_nnunets_trainer_and_predictor():
    found = {
        (str(path.relative_to(PACKAGE)), base.id)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in ("nnUNetTrainer", "nnUNetPredictor")
    }
    assert found == {("trainers/base.py", "nnUNetTrainer"), ("inference/predictor.py", "nnUNetPredictor")}


def test_importing_the_package_is_instant():
    code = "import sys, nnunet_ext; print(sorted({'torch', 'nnunetv2', 'numpy'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_plugin_folder_holds_one_file_and_is_no_package():
    assert [p.name for p in (PACKAGE / "_nnunet_plugin").glob("*.py")] == ["nnunet_ext_trainers.py"]


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    import shutil
    import zipfile

    source = tmp_path / "source"  # a build in the checkout would leave old modules for the next one
    shutil.copytree(PACKAGE, source / "nnunet_ext", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    ours = {
        f"nnunet_ext/{p.relative_to(PACKAGE)}" for p in PACKAGE.rglob("*") if p.suffix in (".py", ".json", ".typed")
    }
    assert held == ours
