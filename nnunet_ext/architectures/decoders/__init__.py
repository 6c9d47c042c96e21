"""Decoders: how scales meet. Built from `out_channels` and `strides`, finest first in and out."""
