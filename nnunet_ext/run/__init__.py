"""Runs of several stock nnU-Net commands in a row: the demo, later the training matrix."""
