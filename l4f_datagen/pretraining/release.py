"""Turn a pretraining run into the weights that ship, with their figures beside them.

Run as ``python -m l4f_datagen.pretraining.release --run DIR --domain NAME`` after
``l4f-datagen pretrain``. The domain's recipe says the licence and how its alpha network is trained,
on exactly what is stored: generator and discriminator go into half precision if no image then
moves by more than one level.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import click
import torch

from l4f_datagen.checkpoints import open as checkpoints
from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.core.errors import InputRefused, L4FError
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.models.generator import Generator, draw_z
from l4f_datagen.pretraining.run import LOG, ORIGIN
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.recipe.domains import BUILTIN, load_recipe
from l4f_datagen.training.run import train_alpha

CHECKED = range(200)  # seeds whose images may not move by more than a level in half precision
README = """\
# Weights of {domain}

{licence}. {description}

```sh
{command}
python -m l4f_datagen.pretraining.release --run RUN --domain {domain}
```

| file | what | parameters | stored as |
|---|---|---|---|
| generator.safetensors | averaged generator, {side} px | {generator.num_parameters:,} | {stored} |
| discriminator.safetensors | its discriminator | {judge.num_parameters:,} | fp16, biases fp32 |
| alpha.safetensors | alpha network of `recipes/{domain}.yaml` | {alpha.num_parameters:,} | fp32 |

Stored so, no pixel of {checked} images moves by more than {levels} level of 255.

Generator: seed {seed}, batch {batch}, {kimg:g} kimg, {minutes:.0f} minutes. Fréchet distance (fixed
random features, `pretraining/distance.py`) of {distance_samples:,} samples to as many training \
images:

| kimg | distance |
|--:|--:|
{distances}

Alpha network: the recipe's training, seed {training.seed}, {training.steps} steps and
{training.self_training} rounds of self-training, {alpha_minutes:.1f} minutes. Its scores are in
docs/figures.md.
"""


def recorded(run: Path) -> list[dict[str, Any]]:
    """Return the snapshots of a run, the last entry for each length; InputRefused without any."""
    log = run / LOG
    if not log.is_file() or not (run / checkpoints.GENERATOR).is_file():
        remedy = "name the --out folder of `l4f-datagen pretrain`"
        raise InputRefused(str(run), "holds no pretraining run with a snapshot", remedy)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    latest = {entry["kimg"]: entry for entry in entries}
    return [latest[kimg] for kimg in sorted(latest)]


def moved_levels(first: Generator, second: Generator) -> int:
    """Return the largest difference in levels over the images of ``CHECKED`` seeds at psi 1."""
    with torch.inference_mode():
        z = torch.from_numpy(draw_z(CHECKED, first.spec.z_dim))
        one, two = (image_to_uint8(g(z).image).short() for g in (first, second))
        return int((one - two).abs().max())


@click.command()
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Pretraining folder.")
@click.option("--domain", type=click.Choice(list(BUILTIN)), required=True)
@click.option("--photos", default="PHOTOS", help="How the README names the training images.")
def main(run: Path, domain: str, photos: str) -> None:
    """Write generator, discriminator, alpha network and README to the package."""
    torch.set_flush_denormal(True)
    history = recorded(run)
    recipe = load_recipe(domain, alpha__weights=None)
    terms = recipe.generator.licence
    licence = Licence(terms.name, terms.link or "", bool(terms.commercial), terms.attribution)
    opened = checkpoints.open_generator(run / checkpoints.GENERATOR)
    judge = checkpoints.open_discriminator(run / checkpoints.DISCRIMINATOR)
    facts = dict(opened.native.training) if opened.native else {}
    common: dict[str, Any] = {"licence": licence, "origin": ORIGIN, "training": facts}
    network, target = opened.build(), BUILTIN[domain]
    target.mkdir(parents=True, exist_ok=True)
    path = target / checkpoints.GENERATOR
    half, levels = True, 0
    for half in (True, False):
        save_generator(path, network.spec, network.state_dict(), half=half, **common)
        levels = moved_levels(network, checkpoints.open_generator(path).build())
        if levels <= 1:
            break
    if levels > 1:
        raise L4FError(str(path), f"moves images by {levels} levels", "look at save_generator")
    save_discriminator(target / checkpoints.DISCRIMINATOR, judge.build(), half=True, **common)

    checkpoint = checkpoints.open_generator(path)
    generator = checkpoint.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = time.monotonic()
    trained = train_alpha(recipe, checkpoint, run / "alpha", generator=generator).path
    shutil.copyfile(trained, target / "alpha.safetensors")
    words: dict[str, Any] = facts | {
        "domain": domain,
        "licence": licence.name,
        "description": recipe.description,
        "command": command_line(facts, photos),
        "side": network.spec.resolution,
        "generator": checkpoint,
        "judge": judge,
        "alpha": checkpoints.open_alpha(trained),
        "stored": "fp16; its mapping network, biases and constants fp32" if half else "fp32",
        "checked": len(CHECKED),
        "levels": levels,
        "distances": "\n".join(f"| {e['kimg']:g} | {e['frechet']} |" for e in history),
        "training": recipe.alpha.training,
        "alpha_minutes": (time.monotonic() - started) / 60,
    }
    (target / "README.md").write_text(README.format(**words))
    click.echo(f"weights in {target}")


def command_line(facts: dict[str, Any], photos: str) -> str:
    """Return the command that makes the run again."""
    flags = [f"--{name} {facts[name]}" for name in ("resolution", "symmetry", "batch", "seed")]
    flags += [f"--kimg {facts['planned_kimg']:g} --decay-kimg {facts['decay_kimg']:g}"]
    # A start is recorded by its fingerprints: its name is for the reader to fill in.
    flags += ["--start none" if facts["start"] is None else "--start START"]
    flags += ["--patience 0"] if not facts["patience"] else []
    flags += ["--no-augment"] if facts["ada_kimg"] is None else []
    return f"l4f-datagen pretrain {photos} --out RUN {' '.join(flags)}"


if __name__ == "__main__":
    main()
