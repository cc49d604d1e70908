"""Hand-made labels: which samples to label, and what labels improve."""
