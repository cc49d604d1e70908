import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "scipy", "datasets", "pyarrow", "pycocotools", "PIL", "pydantic")


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_importing_the_package_is_cheap_and_silent():
    result = run(f"import sys, l4f_datagen; print([m for m in {HEAVY} if m in sys.modules])")
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("words", [["--help"], ["make", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['l4f-datagen', *{words}]\n"
        "try:\n"
        "    runpy.run_module('l4f_datagen', run_name='__main__')\n"
        "except SystemExit as stop:\n"
        f"    print([m for m in {HEAVY} if m in sys.modules], stop.code)\n"
    )
    result = run(code)
    assert result.stdout.splitlines()[-1:] == ["[] 0"], result.stderr
    assert "Usage: l4f-datagen" in result.stdout
    assert result.stderr == ""


def test_opening_weights_does_not_import_the_compiler():
    result = run(
        "import sys\n"
        "from l4f_datagen.checkpoints.open import open_alpha, open_generator\n"
        "from l4f_datagen.recipe.domains import weights_path\n"
        "open_generator(weights_path('builtin:toy-cars', 'generator')).build()\n"
        "open_alpha(weights_path('builtin:toy-cars', 'alpha')).build()\n"
        "print([m for m in ('torch._dynamo', 'sympy') if m in sys.modules])"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


def test_the_module_runs_as_a_program():
    result = subprocess.run(
        [sys.executable, "-m", "l4f_datagen", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Exit codes" in result.stdout


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
