"""The ways to say where the data are, and which flags each of them reads."""

from __future__ import annotations

import argparse

from nnunet_ext.cli.errors import CommandLineError

WAYS = (
    "Say where the data are, in one of these ways: -i IMAGES -m MASKS (folders of pairs); -i FOLDER --mask-suffix "
    "_mask (side by side); -i FOLDER --image-regex ... --mask-regex ... (any tree); --train-list FILE; --manifest "
    "FILE.csv; -i IMAGES --coco FILE.json; -i IMAGES --rle FILE.csv; -i FOLDER --dataset NAME (a published one; "
    "nnunet_ext convert --list shows the names)."
)
FOLDERS = "-i and -m (folders of pairs)"
READ_BY = {  # the flag that chooses a way -> all flags that it reads
    "--dataset": ("-i", "--dataset", "--partial"),
    "--manifest": ("--manifest", "--root"),
    "--train-list": (
        *("--train-list", "--val-list", "--test-list", "--root", "-m"),
        *("--image-suffix", "--mask-suffix", "--replace"),
    ),
    "--image-regex": ("-i", "-m", "--image-regex", "--mask-regex"),
    "--coco": ("-i", "--coco"),
    "--rle": ("-i", "--rle", "--rle-columns", "--rle-order"),
    FOLDERS: (
        *("-i", "-m", "--image-suffix", "--mask-suffix"),
        *("--val-images", "--val-masks", "--test-images", "--test-masks"),
    ),
}
UNSAID = {"--rle-columns": ("ImageId", "EncodedPixels"), "--rle-order": "columns"}  # what they are if not typed


def chosen_way(args: argparse.Namespace) -> str:
    """Return the key of :data:`READ_BY` that the flags choose.

    Raises:
        CommandLineError: two ways are mixed, or a flag was typed that the chosen one does not read.
    """
    typed = {flag for flags in READ_BY.values() for flag in flags if _is_typed(args, flag)}
    chosen = [way for way in READ_BY if way in typed]
    if len(chosen) > 1:
        raise CommandLineError(f"{' and '.join(chosen)} are different ways to say where the data are. {WAYS}")
    way = chosen[0] if chosen else "--image-regex" if "--mask-regex" in typed else FOLDERS
    unread = [flag for flag in dict.fromkeys(f for flags in READ_BY.values() for f in flags) if flag in typed]
    unread = [flag for flag in unread if flag not in READ_BY[way]]
    if unread:
        told = "; ".join(f"{flag} goes with {_readers(flag)}" for flag in unread)
        raise CommandLineError(f"{', '.join(unread)}: not read together with {way}. {told}. {WAYS}")
    return way


def _readers(flag: str) -> str:
    return " or ".join(way for way, flags in READ_BY.items() if flag in flags)


def _is_typed(args: argparse.Namespace, flag: str) -> bool:
    value = getattr(args, flag.lstrip("-").replace("-", "_"))
    value = tuple(value) if isinstance(value, list) else value
    return value not in (None, "", False, UNSAID.get(flag))
