"""The alpha network and its unsupervised training (Labels4Free, sec. 3)."""
