"""Encoders: `(B, C, *S)` to a list of feature maps, finest first."""
