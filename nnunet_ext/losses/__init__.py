"""Losses: plain torch, no trainer, no nnU-Net."""
