"""The one file that nnU-Net finds: `export nnUNet_extTrainer="$(nnunet_ext path)"`.

nnU-Net imports this file as a module of its own, asks it for the name after `-tr`, and forgets it again; the classes
stay in the installed package. Nothing may be defined here: what nnU-Net forgets, it cannot unpickle.
"""

import os
from typing import Any

from nnunet_ext.trainers import naming


def _another_folder_follows() -> bool:
    """Whether nnU-Net would go on searching in another package's folder after this one."""
    folders = [f for f in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep) if os.path.isdir(f)]
    here = os.path.realpath(os.path.dirname(__file__))
    return bool(folders) and os.path.realpath(folders[-1]) != here


def __getattr__(name: str) -> Any:
    """Find a trainer; a wrong name is an error that lists the right ones, unless others may still know it."""
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return naming.resolve(name)
    except naming.TrainerNameError as error:
        known = (*naming.PRESETS, naming.COMPOSITION)
        ours = any(name == base or name.startswith(f"{base}_") for base in known)
        if _another_folder_follows() and not ours:
            raise AttributeError(name) from error
        raise
