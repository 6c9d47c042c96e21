"""The demo's names and the words of its page."""

import re
from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.run.commands import as_typed
from nnunet_ext.run.demo_data import DemoData
from nnunet_ext.run.workplace import Workplace

DEFAULT_TRAINERS = ("nnUNetTrainer_10epochs_25iters", "nnUNetTrainerSLUNet_5L1Res_10epochs_25iters")
DATASET_ID = 999
DATASET_NAME = "Demo"
TITLE = "nnunet_ext demo: nnU-Net and its extensions on one dataset"
LEAD = (
    "Each network was trained on the same images with nnU-Net's stock commands and a short budget, and then "
    "segmented the same test images. This shows that everything works on this machine, and what the results look "
    "like; it does not show which network is better."
)


def demo_command(place: Workplace, data: Path | None, trainers: Sequence[str], seed: int) -> str:
    """Return what a user types to run the whole demo again; a call in Python for other than the default trainers."""
    if tuple(trainers) != DEFAULT_TRAINERS:
        given = f"data={str(data)!r}" if data is not None else f"seed={seed}"
        chosen = f"{given}, trainers={list(trainers)!r}, device={place.device!r}"
        return f"nnunet_ext.run.demo.run_demo({str(place.output)!r}, {chosen}, say=print)"
    source = ["--data", str(data)] if data is not None else ["--seed", str(seed)]
    return as_typed(["nnunet_ext", "demo", "--output", str(place.output), "--device", place.device, *source])


def convert_command(data: DemoData, output: Path) -> str:
    """Return the conversion as a user types it in the folder `output`."""

    def shown(path: Path) -> str:
        return str(path.relative_to(output) if path.is_relative_to(output) else path)

    command = ["nnunet_ext", "convert", "-i", shown(data.images), "-m", shown(data.masks)]
    command += ["-d", str(DATASET_ID), "-n", DATASET_NAME]
    command += [f"--mask-suffix={data.mask_suffix}"] if data.mask_suffix else []
    command += ["--test-images", shown(data.test_images), "--test-masks", shown(data.test_masks), "--overwrite"]
    return as_typed(command)


def how_to_read(device: str) -> list[str]:
    """Return what a reader has to know before quoting a number of the page."""
    threads = " with one thread" if device == "cpu" else ""
    return [
        "Dice and IoU: first the mean over the classes of a case, then mean and standard deviation (n-1) over the "
        "test cases. They come from nnUNetv2_evaluate_folder.",
        "Undefined Dice: cases whose class is absent from both the reference and the prediction. As in nnU-Net, they "
        "do not enter the means; the column counts them.",
        "MACs: multiply-accumulates of one forward pass of one image at the planned patch size; mirroring at test "
        "time (on by default) multiplies them by four. They count arithmetic only: time does not "
        "follow from them.",
        "Training time: nnUNetv2_train from start to end, with start-up and the final validation. Prediction time: "
        f"median time from one image to the next on {device}{threads}, with mirroring, reading and writing.",
        "One training per network, with a budget of minutes where nnU-Net's default is 1000 epochs of 250 iterations. "
        "nnU-Net does not seed trainings: a second run gives other numbers, and differences of the size of that "
        "spread are no evidence.",
    ]


def next_steps(trainers: Sequence[str]) -> str:
    """Return the commands that a user would type next, as a block of text."""
    own = re.sub(r"(_\d+epochs?)?(_\d+iters?)?$", "", trainers[-1])
    return f"""\
# the same demo on your own images: DIR/images and DIR/masks (PNG, masks with the same names)
nnunet_ext demo --data DIR --output my_demo

# a full training: set nnU-Net's three folders, then
export nnUNet_extTrainer="$(nnunet_ext path)"
nnunet_ext doctor
nnunet_ext convert -i DIR/images -m DIR/masks -d 501 -n MyData
nnUNetv2_plan_and_preprocess -d 501 -c 2d --verify_dataset_integrity
nnUNetv2_train 501 2d 0 -tr {own}
nnunet_ext info                # the trainers, and what each is"""
