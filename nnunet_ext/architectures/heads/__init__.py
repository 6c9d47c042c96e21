"""Heads: features to class scores, without a nonlinearity."""
