import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "scipy", "datasets", "pyarrow", "pycocotools", "PIL", "pydantic")
BUILT = "\n".join(
    f"open_{part}(weights_path('builtin:toy-cars', '{part}')).build()"
    for part in ("generator", "alpha")
)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import l4f_datagen", HEAVY),
        ("import l4f_datagen.recipe.catalogue, l4f_datagen.io.download", ("torch",)),
        (
            "from l4f_datagen.checkpoints.open import open_alpha, open_generator\n"
            f"from l4f_datagen.recipe.domains import weights_path\n{BUILT}",
            ("torch._dynamo", "sympy"),  # the compiler
        ),
    ],
)
def test_imports_are_cheap_and_silent(code, unwanted):
    result = run(f"import sys\n{code}\nprint([m for m in {unwanted} if m in sys.modules])")
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


def run(code):
    words = [sys.executable, "-W", "error", "-c", code]
    read = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    return subprocess.run(words, cwd=REPOSITORY, **read)


@pytest.mark.parametrize("words", [["--help"], ["make", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['l4f-datagen', *{words}]\n"
        "try:\n"
        "    runpy.run_module('l4f_datagen', run_name='__main__')\n"  # as python -m does
        "except SystemExit as stop:\n"
        f"    print([m for m in {HEAVY} if m in sys.modules], stop.code)\n"
    )
    result = run(code)
    assert result.stdout.splitlines()[-1:] == ["[] 0"], result.stderr
    assert "Usage: l4f-datagen" in result.stdout
    assert result.stderr == ""


def test_every_public_name_has_a_home():
    import l4f_datagen

    names = dir(l4f_datagen)
    assert l4f_datagen.__version__ == version("l4f-datagen")
    for name in set(names) - {"__version__"}:
        assert getattr(l4f_datagen, name).__name__ == name
    # What type checkers see is what there is, and all of it is documented.
    typed = re.findall(r" as (\w+)$", Path(l4f_datagen.__file__).read_text(), re.MULTILINE)
    assert sorted([*typed, "__version__"]) == names
    docs = (REPOSITORY / "docs" / "api.md").read_text()
    assert [name for name in typed if name not in docs] == []
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        l4f_datagen.nonsense  # noqa: B018
