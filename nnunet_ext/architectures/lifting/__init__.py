"""Spatial Lifting: the dimension of the problem."""
