"""Benchmark: the paper's tables for one domain, every method on the same generated pictures."""
