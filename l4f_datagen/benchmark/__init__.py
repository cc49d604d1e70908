"""The paper's tables for one domain: the method, its ablations and other methods."""
