"""Published segmentation ideas for nnU-Net v2, as parts that combine. Importing this is instant."""

__version__ = "0.1.0"
