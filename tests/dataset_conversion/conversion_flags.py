"""For tests of `convert`: flags as keywords."""

from dataclasses import fields

from nnunet_ext.dataset_conversion.options import Options
from nnunet_ext.dataset_conversion.pixels import Reading
from nnunet_ext.dataset_conversion.splits import SplitRule


def with_options(keywords: dict) -> dict:
    """Collect the keywords that are attributes of the options' dataclasses into ``options``."""
    left = dict(keywords)

    def taken(kind, **more):
        return kind(**{f.name: left.pop(f.name) for f in fields(kind) if f.name in left}, **more)

    reading, splits = taken(Reading), taken(SplitRule)
    options = taken(Options, reading=reading, splits=splits)
    return {**left, "options": options}
