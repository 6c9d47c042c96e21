"""Predicting with nnU-Net, and what a prediction tells about itself."""
