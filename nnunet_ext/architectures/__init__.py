"""Networks and their parts. Plain torch: knows nothing of nnU-Net's trainers."""
