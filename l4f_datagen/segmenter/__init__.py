"""A supervised net: pseudo-truth in benchmarks, and the labels put to use."""
