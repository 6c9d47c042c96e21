"""Datasets into nnU-Net raw format. Stands alone: imports no other room."""
