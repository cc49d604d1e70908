"""Well-known text: POLYGON and MULTIPOLYGON to rings of points."""

import re

from l4f_datagen.core.errors import AnnotationRefused

RING = re.compile(r"\(([^()]*)\)")

Points = list[list[float]]


def polygons_of_wkt(text: object, subject: str) -> list[list[Points]]:
    """Rings of each polygon, the first its outline, the rest its holes.

    Args:
        text: ``POLYGON ((x y, ...))`` or ``MULTIPOLYGON (((x y, ...)), ...)``, or EMPTY.
        subject: the record, for the error.

    Raises:
        AnnotationRefused: brackets or numbers that do not parse.
    """
    if not isinstance(text, str):
        raise AnnotationRefused(subject, "no WKT", "export the labels again")
    kind, _, body = text.strip().partition("(")
    kind = kind.strip().upper()
    if kind in ("POLYGON EMPTY", "MULTIPOLYGON EMPTY") and not body:
        return []
    body = body.strip()
    if kind not in ("POLYGON", "MULTIPOLYGON") or not body.endswith(")"):
        raise AnnotationRefused(subject, f"WKT {text[:40]!r}", "export the labels again")
    body = body[:-1]
    parts = [body] if kind == "POLYGON" else _polygon_bodies(body, subject)
    return [[_points(ring, subject) for ring in _rings(part, subject)] for part in parts]


def _polygon_bodies(body: str, subject: str) -> list[str]:
    """Split the inside of a MULTIPOLYGON at its second level of brackets."""
    bodies, depth, start = [], 0, 0
    for place, character in enumerate(body):
        if character == "(":
            depth += 1
            start = place + 1 if depth == 1 else start
        elif character == ")":
            depth -= 1
            if depth == 0:
                bodies.append(body[start:place])
        if not 0 <= depth <= 2:
            break
    if depth != 0 or not bodies:
        raise AnnotationRefused(subject, f"WKT brackets in {body[:40]!r}", "export it again")
    return bodies


def _rings(part: str, subject: str) -> list[str]:
    rings = RING.findall(part)
    if not rings or RING.sub("", part).strip(" ,\t\n"):
        raise AnnotationRefused(subject, f"WKT ring {part[:40]!r}", "export the labels again")
    return rings


def _points(ring: str, subject: str) -> Points:
    try:
        points = [[float(number) for number in pair.split()] for pair in ring.split(",")]
    except ValueError as error:
        raise AnnotationRefused(subject, f"WKT points {ring[:40]!r}", "export it again") from error
    if any(len(point) != 2 for point in points):
        raise AnnotationRefused(subject, f"WKT points {ring[:40]!r}", "write x y pairs")
    return points
