"""Rivals of the alpha network, each small and honest, run on the same pictures."""
