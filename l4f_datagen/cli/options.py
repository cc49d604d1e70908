"""Options that several commands share, how a command writes its own, and what they name."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.types import FuncParamType

from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet
    from l4f_datagen.recipe import Recipe

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Option = Callable[[Any], Any]


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


def formats(value: str) -> tuple[str, ...]:
    """Read names such as ``png,coco,hf`` and return them in the table's order."""
    from l4f_datagen.core.sample import order_formats

    return order_formats([name.strip() for name in value.split(",")])


def place(value: str) -> Path | str:
    """Read a folder, or the URL of one, such as ``s3://bucket/cars``."""
    return value if "://" in value else Path(value)


FILE = click.Path(path_type=Path)
PLACE, PSI_LIST, FORMAT_LIST = map(FuncParamType, (place, psi, formats))
SHARE = click.FloatRange(0, 1)
CUT = click.FloatRange(0, 1, max_open=True)
"""Thresholds: at 1 every mask would be empty."""
NATURAL = click.IntRange(1)


def option(
    flags: str, kind: Any, help: str | None = None, default: Any = None, **more: Any
) -> Callable[[Decorated], Decorated]:
    """Return an option of a command, as a decorator.

    ``flags`` are names such as "--n number". ``kind`` is a type, "a|b" for one of these words, or
    bool for a switch. ``default`` None: the option may be left out. ``more`` is of
    ``click.option``.
    """
    if default is not None:
        more |= {"default": default, "show_default": True}
    elif kind is bool and "/" in flags:
        more["default"] = None
    if kind is bool:
        more["is_flag"] = True
    else:
        more["type"] = click.Choice(kind.split("|")) if isinstance(kind, str) else kind
    return click.option(*flags.split(), help=help, **more)


def added(options: Sequence[Option]) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds options in their order."""

    def add(command: Decorated) -> Decorated:
        for each in reversed(options):
            command = each(command)
        return command

    return add


JSON = option("--json as_json", bool, "Print JSON to stdout.")
CLASS = option("--class class_index", click.IntRange(0), "Class of a class-conditional generator.")
OFFLINE = option("--offline", bool, "Use no network, like HF_HUB_OFFLINE=1.")
DEVICE = option("--device", str, "auto, cpu, cuda, mps.", "auto")
THRESHOLD = option("--threshold", CUT, "mask = alpha > this value.")

source_options = added([
    option("--domain", str, "A shipped recipe (`recipes list`).", metavar="NAME"),
    option("--recipe recipe_file", FILE, "A recipe file of your own."),
    option("--generator", str, "StyleGAN2 checkpoint, any format.", metavar="FILE|URL"),
    option("--alpha", str, "Alpha network; without, one is trained.", metavar="FILE|URL"),
    option("--set assignments", str, "Override a recipe key.", multiple=True, metavar="A.B=C"),
    CLASS,
    OFFLINE,
    DEVICE,
])  # fmt: skip
"""Adds the options that name recipe, weights and device to a command."""

READING = {
    "truth_format": option(
        "--format truth_format",
        "png|coco|coco-results|labelbox|labelbox-legacy|cvat|cvat-masks|label-studio|labelme|"
        "labelme-xml|cityscapes|supervisely|via|yolo|createml|hf",
        "Format of the truth (default: found by content)."),
    "category": option("--category", str, "Which class of the truth is foreground, '*' for all."),
    "ignore_category": option(
        "--ignore-category", str, "A class whose areas are not scored; may be repeated.",
        multiple=True, metavar="NAME"),
    "mask_value": option("--mask-value", str,
        "Which pixels of mask images are foreground: 7 (up to 65535), '#ff0000', '>127', alpha."),
    "ignore_value": option("--ignore-value", str,
        "A level or colour of mask images that is not scored; may be repeated.",
        multiple=True, metavar="VALUE"),
    "unannotated": option("--unannotated", "skip|empty",
        "Images that nobody annotated: left out, or scored as images without object "
        "(default: skip)."),
    "crowd": option("--crowd", "auto|ignore|object",
        "COCO areas marked iscrowd: not scored, or objects (default: objects where CVAT or "
        "Datumaro wrote the file)."),
    "masks_dir": option("--masks-dir", FILE, "Folder of mask files the truth refers to."),
    "download": option("--download", bool,
        "Fetch masks that the truth names by URL; LABELBOX_API_KEY holds the key."),
    "mask_host": option("--mask-host", str,
        "A further host that --download may ask; may be repeated.",
        multiple=True, metavar="HOST[:PORT]"),
    "boxes": option("--boxes", "refuse|fill",
        "Boxes without an outline: refuse the image, or fill them (default: refuse)."),
    "annotators": option("--annotators", "majority|union|intersection|first",
        "How several annotators of one image become one mask (default: majority)."),
}  # fmt: skip
"""How an annotated set is read, by parameter; ``open_annotated`` takes these options."""
PAIR_BY = "auto|key|stem|number"
scoring_options = added([
    option("--allow-unused", bool, "Accept predictions without truth."),
    option("--resize", "nearest", "Resize predictions of another size."),
    option("--paper-compat", bool, "Compute exactly as the paper's authors did."),
    option("--ap with_ap", bool, "COCO average precision too; needs soft alphas or COCO results."),
    option("--min-miou", SHARE, "Exit with code 3 below this mIoU."),
])  # fmt: skip
"""Adds the options of how masks are scored."""


def truth_options(
    *, required: bool, predicted: str = "prediction"
) -> Callable[[Decorated], Decorated]:
    """Return what adds the options of an annotated set to a command."""
    keys = "keys.csv of `sample`, or its folder: checks the images."
    return added([
        option("--truth", FILE, "Mask folder or annotation export.", required=required),
        *([option("--keys", FILE, keys)] if predicted == "prediction" else []),
        *READING.values(),
        option("--pair-by", PAIR_BY, f"How truth and {predicted} are paired.", "auto"),
        option("--offset", int, f"Truth number minus {predicted} number."),
    ])  # fmt: skip


def open_annotated(
    truth: Path, options: dict[str, Any], *, exact_white: bool = False
) -> "TruthSet":
    """Open an annotated set; the options of ``READING`` are taken out of ``options``."""
    from l4f_datagen.annotations import load_annotations
    from l4f_datagen.annotations.mask_files import LABELBOX_HOSTS, mask_downloader

    reading = {name: options.pop(name) for name in READING}
    reading["format"] = reading.pop("truth_format")
    hosts = reading.pop("mask_host")
    if reading.pop("download") or hosts:
        reading["download"] = mask_downloader(hosts=LABELBOX_HOSTS | set(hosts))
    return load_annotations(truth, exact_white=exact_white, **given(reading))


class SectionedCommand(click.Command):
    """Command whose help lists options in sections; those in no section come first."""

    sections: Mapping[str, Sequence[str | None]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        params = self.get_params(ctx)
        named = {name for names in self.sections.values() for name in names}
        first = [param.name for param in params if param.name not in named]
        for title, names in {"Options": first, **self.sections}.items():
            records = [param.get_help_record(ctx) for param in params if param.name in names]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])


def names_of(options: Sequence[Option]) -> list[str | None]:
    """Return the parameter names of options."""

    def bearer() -> None: ...

    for each in options:
        each(bearer)
    return [param.name for param in vars(bearer)["__click_params__"]]


def resolve_recipe(
    domain: str | None,
    recipe_file: Path | None,
    generator: str | None,
    alpha: str | None,
    assignments: tuple[str, ...],
    class_index: int | None = None,
    flags: Mapping[str, object] | None = None,
    uses_alpha: bool = True,
) -> "Recipe":
    """Return the recipe after ``--set`` and flags.

    ``flags`` (recipe key to value) are those that are given; they win over ``--set``.
    ``uses_alpha`` tells whether the command needs an alpha network.
    """
    from l4f_datagen.recipe.domains import load_recipe

    if domain and recipe_file:
        raise UsageError("--domain", "given together with --recipe", "name one of them")
    source = recipe_file or domain
    if source is None and generator is None:
        remedy = "name --domain (see `l4f-datagen recipes list`), --recipe or --generator"
        raise UsageError("recipe", "is not given", remedy)
    values: dict[str, Any] = given({"generator.class_index": class_index}) | dict(flags or {})
    recipe = load_recipe(
        source, assignments=assignments, generator=generator, alpha=alpha, **values
    )
    if uses_alpha and generator and source and not alpha:
        own = load_recipe(source, assignments=assignments).alpha.weights
        if own is not None:
            from l4f_datagen.pipeline.networks import keep_fitting_alpha

            return keep_fitting_alpha(recipe, own)
    return recipe


def echo(value: Any) -> None:
    """Print text as it is, and anything else as JSON."""
    click.echo(value if isinstance(value, str) else json.dumps(value, indent=2))


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of flags that were given: no flag means None."""
    return {name: value for name, value in values.items() if value is not None}
