"""Kinds of annotations besides a mask file: several files, instance maps, run lengths, polygons, MATLAB arrays."""
