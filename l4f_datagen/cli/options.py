"""Options that several commands share, how a command writes its own, and what they name."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.types import FuncParamType

from l4f_datagen.core.errors import BelowScore, UsageError

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet
    from l4f_datagen.recipe import Recipe
    from l4f_datagen.scoring import ScoreReport

Option = Callable[[Any], Any]  # a decorator that adds an option, or several, to a command


# Click turns the ValueErrors of these functions into usage errors.


def psi(value: str) -> tuple[float, ...]:
    """Read truncations in turn: ``0.7`` or ``0.5,0.7,1.0``, with shares as in ``0.5:1,0.7:2``."""
    shares: dict[float, int] = {}
    for part in value.split(","):
        text, _, share = part.partition(":")
        try:
            psi, times = float(text), int(share or 1)
        except ValueError:
            problem = f"expected numbers such as 0.5,0.7 or 0.5:1,0.7:2, got {value!r}"
            raise ValueError(problem) from None
        if not (math.isfinite(psi) and 0 <= psi <= 2):
            raise ValueError(f"psi must be in [0, 2], got {text}")
        if not 1 <= times <= 1000:
            raise ValueError(f"a share must be from 1 to 1000, got {share}")
        if psi in shares:
            raise ValueError(f"psi {text} is named twice; give it a share instead, {text}:2")
        shares[psi] = times
    common = math.gcd(*shares.values())  # 2:4 means the same as 1:2 and must give the same plan
    return tuple(psi for psi, times in shares.items() for _ in range(times // common))


def words(value: str) -> tuple[str, ...]:
    """Read names such as ``cuda:0,cuda:1``."""
    return tuple(name.strip() for name in value.split(","))


def formats(value: str) -> tuple[str, ...]:
    """Read names of formats and return them in the table's order."""
    from l4f_datagen.core.sample import order_formats

    return order_formats(words(value))


def place(value: str) -> Path | str:
    """Read a folder, or the URL of one, such as ``s3://bucket/cars``."""
    return value if "://" in value else Path(value)


FILE = click.Path(path_type=Path)
PLACE, PSI_LIST, FORMAT_LIST, NAMES = map(FuncParamType, (place, psi, formats, words))
SHARE = click.FloatRange(0, 1)
CUT = click.FloatRange(0, 1, max_open=True)  # thresholds: at 1 every mask would be empty
NATURAL = click.IntRange(1)


def option(
    flags: str, kind: Any, help: str | None = None, default: Any = None, **more: Any
) -> Option:
    """Return an option: ``flags`` are names such as "--n number"; ``more`` is of ``click.option``.

    ``kind`` is a type, "a|b" for one of these words, or bool for a switch.
    """
    if default is not None:
        more |= {"default": default, "show_default": True}
    elif kind is bool and "/" in flags:
        more["default"] = None  # neither of the two was asked for
    if kind is bool:
        more["is_flag"] = True
    else:
        more["type"] = click.Choice(kind.split("|")) if isinstance(kind, str) else kind
    return click.option(*flags.split(), help=help, **more)


def added(*options: Option) -> Option:
    """Return a decorator that adds options in their order."""

    def add(command: Any) -> Any:
        for each in reversed(options):
            command = each(command)
        return command

    return add


def names_of(options: Option) -> list[str]:
    """Return the parameter names of options."""
    return [param.name for param in vars(options(lambda: None))["__click_params__"]]


def take(names: Iterable[str], values: dict[str, Any]) -> dict[str, Any]:
    """Take the values of these parameters out of ``values``."""
    return {name: values.pop(name) for name in names}


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of flags that were given: no flag means None."""
    return {name: value for name, value in values.items() if value is not None}


JSON = option("--json as_json", bool, "Print JSON to stdout.")
CLASS = option("--class class_index", click.IntRange(0), "Class of a class-conditional generator.")
OFFLINE = option("--offline", bool, "Use no network, like HF_HUB_OFFLINE=1.")
DEVICE = option("--device", str, "auto, cpu, cuda, mps.", "auto")
THRESHOLD = option("--threshold", CUT, "mask = alpha > this value.")
SYMMETRY = "none|mirror|square"

RECIPE = added(  # what names recipe and weights, see ``resolve_recipe``
    option("--domain", str, "A shipped recipe (`recipes list`).", metavar="NAME"),
    option("--recipe recipe_file", FILE, "A recipe file of your own."),
    option("--generator", str, "StyleGAN2 checkpoint, any format.", metavar="FILE|URL"),
    option("--alpha", str, "Alpha network; without, one is trained.", metavar="FILE|URL"),
    option("--set assignments", str, "Override a recipe key.", multiple=True, metavar="A.B=C"),
    CLASS,
)
SOURCE = added(RECIPE, OFFLINE, DEVICE)
READING = added(  # how an annotated set is read, see ``open_annotated``
    option("--format truth_format",
           "png|coco|coco-results|labelbox|labelbox-legacy|cvat|cvat-masks|label-studio|labelme|"
           "labelme-xml|cityscapes|supervisely|via|yolo|createml|hf",
           "Format of the truth (default: found by content)."),
    option("--category", str, "Which class of the truth is foreground, '*' for all."),
    option("--ignore-category", str, "A class whose areas are not scored; may be repeated.",
           multiple=True, metavar="NAME"),
    option("--mask-value", str, "Foreground pixels of mask images: 7, '#ff0000', '>127', alpha."),
    option("--ignore-value", str, "A level or colour that is not scored; may be repeated.",
           multiple=True, metavar="VALUE"),
    option("--unannotated", "skip|empty", "Leave out what nobody annotated (default), or score it "
           "as images without object."),
    option("--crowd", "auto|ignore|object", "COCO areas marked iscrowd: not scored, or objects "
           "(default where CVAT or Datumaro wrote the file)."),
    option("--masks-dir", FILE, "Folder of mask files the truth refers to."),
    option("--download", bool, "Fetch masks named by URL; LABELBOX_API_KEY holds the key."),
    option("--mask-host", str, "A further host that --download may ask; may be repeated.",
           multiple=True, metavar="HOST[:PORT]"),
    option("--boxes", "refuse|fill", "Boxes without an outline (default: refuse the image)."),
    option("--annotators", "majority|union|intersection|first",
           "How several annotators of one image become one mask (default: majority)."),
)  # fmt: skip
SCORING = added(
    option("--allow-unused", bool, "Accept predictions without truth."),
    option("--resize", "nearest", "Resize predictions of another size."),
    option("--paper-compat", bool, "Compute exactly as the paper's authors did."),
    option("--ap with_ap", bool, "COCO average precision too; needs soft alphas or COCO results."),
    option("--min-miou", SHARE, "Exit with code 3 below this mIoU."),
)


def truth_options(*, required: bool, predicted: str = "prediction") -> Option:
    """Return the options of an annotated set."""
    keys = "keys.csv of `sample`, or its folder: checks the images."
    pair_by = f"How truth and {predicted} are paired."
    return added(
        option("--truth", FILE, "Mask folder or annotation export.", required=required),
        *([option("--keys", FILE, keys)] if predicted == "prediction" else []),
        READING,
        option("--pair-by", "auto|key|stem|number", pair_by, "auto"),
        option("--offset", int, f"Truth number minus {predicted} number."),
    )


def resolve_recipe(options: dict[str, Any], *, uses_alpha: bool = True, **keys: object) -> "Recipe":
    """Take the values of ``RECIPE`` out of ``options`` and return the recipe that they name.

    ``keys`` are those of ``load_recipe``, which win over ``--set``; ``uses_alpha`` tells whether
    the command needs an alpha network.
    """
    from l4f_datagen.recipe.domains import load_recipe

    named = take(names_of(RECIPE), options)
    domain, file, index = map(named.pop, ("domain", "recipe_file", "class_index"))
    if domain and file:
        raise UsageError("--domain", "given together with --recipe", "name one of them")
    source = file or domain
    if source is None and named["generator"] is None:
        remedy = "name --domain (see `l4f-datagen recipes list`), --recipe or --generator"
        raise UsageError("recipe", "is not given", remedy)
    values: dict[str, Any] = {**named, **given({"generator.class_index": index}), **keys}
    recipe = load_recipe(source, **values)
    if uses_alpha and named["generator"] and source and not named["alpha"]:
        own = load_recipe(source, assignments=named["assignments"]).alpha.weights
        if own is not None:
            from l4f_datagen.pipeline.networks import keep_fitting_alpha

            return keep_fitting_alpha(recipe, own)
    return recipe


def open_annotated(
    truth: Path, options: dict[str, Any], *, exact_white: bool = False
) -> "TruthSet":
    """Take the values of ``READING`` out of ``options`` and open an annotated set."""
    from l4f_datagen.annotations import load_annotations
    from l4f_datagen.annotations.mask_files import LABELBOX_HOSTS, mask_downloader

    reading = take(names_of(READING), options)
    reading["format"] = reading.pop("truth_format")
    hosts = reading.pop("mask_host")
    if reading.pop("download") or hosts:
        reading["download"] = mask_downloader(hosts=LABELBOX_HOSTS | set(hosts))
    return load_annotations(truth, exact_white=exact_white, **given(reading))


def require_miou(least: float | None, report: "ScoreReport", subject: str) -> None:
    """Raise BelowScore where the mIoU is below what ``--min-miou`` asks for."""
    if least is not None and report.scores.miou < least:
        reached = f"mIoU {report.scores.miou:.4f} is below the asked {least}"
        raise BelowScore(subject, reached, "look at the worst images first")


def echo(value: Any) -> None:
    """Print text as it is, and anything else as JSON."""
    click.echo(value if isinstance(value, str) else json.dumps(value, indent=2))
