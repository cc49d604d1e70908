"""Cores: how many this process may use."""

import os


def usable_cores() -> int:
    """Cores this process may use, which a cluster or container may have cut down."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
