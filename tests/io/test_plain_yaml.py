import pytest

from l4f_datagen.io.plain_yaml import plain_yaml


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: [1, 2.5, yes, null, text]", {"a": [1, 2.5, True, None, "text"]}),
        ("- x\n- {y: 'z'}\n", ["x", {"y": "z"}]),
        ("1: 2", {"1": 2}),
        ("[{a: 1, b: {a: 1}}, {a: 1}]", [{"a": 1, "b": {"a": 1}}, {"a": 1}]),
        ("", None),
        ("0.5", 0.5),
    ],
)
def test_plain_values(text, data):
    assert plain_yaml(text) == data


BOMB = "a: &a [x, x]\n" + "".join(f"{k}: &{k} [*{p}, *{p}]\n" for p, k in ("ab", "bc", "cd"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "aliases such as .* are not read, write the value out"),
        ("a: &a [*a]", "aliases"),
        ("a: &a {b: 1}\nc: {<<: *a}", "aliases"),
        ("[" * 60_000, "nested deeper than 50 levels"),
        ("{a: " * 51 + "1" + "}" * 51, "nested deeper than 50 levels"),
        ("when: 2024-01-01", "2024-01-01 is a date to YAML, quote it if it is text"),
        ("when: 2024-13-99", "month must be in 1..12"),
        ("a: !!set {b, c}", "is a set to YAML"),
        ("a: !!binary aGVsbG8=", "is a bytes to YAML"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [1, 2]\n: 3", "unhashable key"),
        ("a: 1\nb: 2\n'a': 3\n", "the key a is given twice, again in line 3"),
        ("a: {b: 1, c: {d: 1, d: 1}}", "the key d is given twice, again in line 1"),
        ("- {1: a}\n- 1: b\n  1: c\n", "the key 1 is given twice, again in line 3"),
        ("<<: {a: 1, a: 2}", "the key a is given twice, again in line 1"),
        (f"? {'k' * 500}\n: 1\n? {'k' * 500}\n: 1", "the key k{80} is given twice, again in l"),
        ("a: [1", "expected"),
        ("a: b: c", "mapping values are not allowed here"),
        ("a: \x00", "special characters are not allowed"),
        (f"a: {'9' * 5000}", "Exceeds the limit"),
    ],
)
def test_anything_else_is_refused_in_one_short_line(text, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        plain_yaml(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 200


def test_fifty_levels_are_read():
    data = plain_yaml("[" * 50 + "]" * 50)
    depth = 1
    while data:
        (data,) = data
        depth += 1
    assert depth == 50
