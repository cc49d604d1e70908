"""Splits: which part of the dataset a sample belongs to, a function of its key alone."""

import hashlib

from l4f_datagen.recipe import SplitPart


def split_of(key: str, shares: SplitPart) -> str:
    """Return "train", "val" or "test".

    Hashed is what stands behind the last dash of the key, the seed: the pictures of one seed at
    several psi show nearly the same object, and must not meet in train and test.

    >>> split_of("psi0700-seed0000123", SplitPart())
    'train'
    """
    digest = hashlib.sha256(key.rpartition("-")[2].encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64  # [0, 1)
    if place < shares.test:
        return "test"
    return "val" if place < shares.test + shares.val else "train"
