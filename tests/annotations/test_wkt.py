import pytest

from l4f_datagen.annotations.wkt import polygons_of_wkt
from l4f_datagen.core.errors import AnnotationRefused

RING = [[1.0, 2.0], [3.5, 2.0], [-3.0, 4e1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("POLYGON ((1 2, 3.5 2, -3 4e1))", [[RING]]),
        (" polygon((1 2,3.5 2,-3 4e1),(1 2, 3.5 2, -3 4e1)) ", [[RING, RING]]),
        ("MULTIPOLYGON (((1 2, 3.5 2, -3 4e1)))", [[RING]]),
        (
            "MULTIPOLYGON (((1 2, 3.5 2, -3 4e1), (1 2, 3.5 2, -3 4e1)), ((1 2, 3.5 2, -3 4e1)))",
            [[RING, RING], [RING]],
        ),
        ("POLYGON EMPTY", []),
        ("MULTIPOLYGON EMPTY", []),
    ],
)
def test_polygons(text, expected):
    assert polygons_of_wkt(text, "r") == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("POLYGON", "WKT 'POLYGON'"),
        ("POLYGON ((1 2, 3 4", "WKT 'POLYGON"),
        ("LINESTRING (1 2, 3 4)", "WKT 'LINESTRING"),
        ("POLYGON (1 2, 3 4)", "WKT ring"),
        ("POLYGON ((1 2) x (3 4))", "WKT ring"),
        ("POLYGON ((1 2, 3))", "WKT points"),
        ("POLYGON ((1 2, a b))", "WKT points"),
        ("MULTIPOLYGON ((1 2))", "WKT ring|WKT brackets"),
        ("MULTIPOLYGON (((1 2)", "WKT brackets"),
        ("MULTIPOLYGON ((((1 2))))", "WKT brackets"),
        ("MULTIPOLYGON ()", "WKT brackets"),
        (7, "no WKT"),
    ],
)
def test_broken_text(text, match):
    with pytest.raises(AnnotationRefused, match=match):
        polygons_of_wkt(text, "r")
