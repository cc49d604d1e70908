"""Names of formats, in the order of the table of writers, and of the parts of a dataset."""

import difflib
from collections.abc import Sequence

FORMATS: dict[str, tuple[str, ...]] = {
    "png": (),
    "coco": ("png",),
    "hf": (),
    "imagefolder": (),
    "webdataset": (),
    "yolo": (),
}
"""Name to the other formats whose files it lists."""

SPLITS = ("train", "val", "test")


def order_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Sort names of formats in the order of the table, each once.

    >>> order_formats(["coco", "png", "coco"])
    ('png', 'coco')

    Raises:
        ValueError: none, an unknown one, or one without a format whose files it lists.
    """
    known = ", ".join(FORMATS)
    if not names:
        raise ValueError(f"expected at least one format of {known}")
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.4)
            hint = f", did you mean {near[0]}?" if near else ";"
            raise ValueError(f"{name!r} is not a format{hint} known are {known}")
    for name in names:
        for other in FORMATS[name]:
            if other not in names:
                raise ValueError(f"{name} lists files that {other} writes, add {other}")
    return tuple(name for name in FORMATS if name in names)
