"""Two-stage segmentation: a coarse network first, a fine one only where the coarse one is unsure."""
