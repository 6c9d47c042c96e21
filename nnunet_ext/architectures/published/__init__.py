"""Whole networks exactly as a paper has them, one file a network, built from the parts."""
