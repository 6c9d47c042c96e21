"""The demo's output folder: claimed with a marker file, and only what the demo made in it is ever replaced."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARKER = "nnunet_ext_demo.json"
MADE_FOLDERS = ("data", "nnunet", "predictions", "overlays", "logs")
MADE_FILES = ("report.html", "results.csv", "results_per_case.csv", "results.json")


class DemoFolderError(ValueError):
    """The output folder is not the demo's to write into."""


def claim_folder(output: Path, settings: Mapping[str, Any], data: Path | None = None) -> bool:
    """Make `output` an empty demo folder and return whether an earlier demo was replaced.

    A new or empty folder gets the marker file, with `settings` in it. In the folder of an earlier demo, that
    demo's own folders and files are removed and everything else is left alone.

    Raises `DemoFolderError` if `output` is a file or a non-empty folder without the marker, or if the user's
    `data` lie inside it.
    """
    if data is not None and _inside(data, output):
        raise DemoFolderError(
            f"--data {data} lies inside --output {output}, where the demo removes what it made before. Choose "
            "an output folder outside the data, such as: nnunet_ext demo --output demo_output"
        )
    replaces = _check_ours(output)
    remove_made(output)
    output.mkdir(parents=True, exist_ok=True)
    content = {"made_by": "nnunet_ext demo", "settings": dict(settings)}
    (output / MARKER).write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    return replaces


def remove_made(output: Path) -> None:
    """Remove what a demo makes in `output`, by name; links are removed and not followed."""
    for name in (*MADE_FOLDERS, *MADE_FILES, MARKER):
        path = output / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check_ours(output: Path) -> bool:
    if not output.exists():
        return False
    if not output.is_dir():
        raise DemoFolderError(f"--output {output} is a file; name a folder")
    if (output / MARKER).is_file():
        return True
    if any(output.iterdir()):
        raise DemoFolderError(
            f"--output {output} is not empty and no demo made it (it has no {MARKER}). Nothing was changed. "
            "Choose a new folder, such as: nnunet_ext demo --output demo_output"
        )
    return False


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
