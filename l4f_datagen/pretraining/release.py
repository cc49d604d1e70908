"""Turn a pretraining run into the weights that ship, with their figures beside them.

Run as ``python -m l4f_datagen.pretraining.release --run DIR`` after ``pretraining.pretrain``.
Generator and discriminator are stored in half precision if the images stay within one level; the
alpha network is trained by the recipe on exactly what is stored.
"""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import InputRefused, L4FError
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.models.generator import Generator
from l4f_datagen.models.mapping import draw_z
from l4f_datagen.models.unet import to_tensor
from l4f_datagen.pretraining.distance import Features, frechet_distance
from l4f_datagen.pretraining.pretrain import HELD_OUT_SEED, rendered
from l4f_datagen.pretraining.state import PretrainPlan, new_state, resume
from l4f_datagen.recipe.domains import BUILTIN, find_recipe, load_recipe
from l4f_datagen.recipe.licences import Licence
from l4f_datagen.training.run import train_alpha

LICENCE = Licence("apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", True)
ORIGIN = "l4f_datagen.pretraining.pretrain"
CHECKED = range(200)

README = """\
# Weights of {domain}

Apache-2.0. Trained on nothing but the renders of `l4f_datagen/toys/scene.py`{started}:

```sh
python -m l4f_datagen.pretraining.pretrain --out RUN {flags}
python -m l4f_datagen.pretraining.release --run RUN
```

| file | what | parameters | stored as |
|---|---|---|---|
| generator.safetensors | averaged generator, 64 px | {generator_parameters:,} | {stored} |
| discriminator.safetensors | its discriminator | {discriminator_parameters:,} | fp16 |
| alpha.safetensors | alpha network of `recipes/{domain}.yaml` | {alpha_parameters:,} | fp32 |

Stored so, no pixel of {checked} images moves by more than {levels} level of 255.

Generator: seed {seed}, {scenes:,} scenes, batch {batch}, {kimg:g} kimg, {minutes:.0f} minutes of
CPU training. Fréchet distance (fixed random features, `pretraining/distance.py`) of
{distance_samples:,} samples to as many held-out renders; two sets of renders are {floor:.4f} apart:

| kimg | distance |
|--:|--:|
{distances}

Alpha network: the recipe's training, seed {alpha_seed}, {alpha_steps} steps,
{alpha_minutes:.1f} minutes. Its scores are in the project's README and come from
`l4f-datagen benchmark --domain {domain} --out DIR`.
"""


def recorded(run: Path) -> tuple[PretrainPlan, list[dict[str, Any]]]:
    """Return the plan of a run and the entries of its log, the last one for each length.

    Raises:
        InputRefused: the folder holds no such run, or one without a snapshot.
    """
    log = run / "distance.jsonl"
    if not log.is_file() or not (run / "state.pt").is_file():
        remedy = "name the --out folder of `python -m l4f_datagen.pretraining.pretrain`"
        raise InputRefused(str(run), "holds no pretraining run with a snapshot", remedy)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    latest = {entry["kimg"]: entry for entry in entries}
    # A log from before there were two domains names none: the defaults are what it did.
    return PretrainPlan(**entries[-1]["plan"]), [latest[kimg] for kimg in sorted(latest)]


def command_flags(plan: PretrainPlan, kimg: float) -> str:
    """What makes the run again, next to ``--out``."""
    start = f" --start {plan.start}" if plan.start else ""
    length = f"--kimg {kimg:g} --decay-kimg {plan.decay_kimg:g} --seed {plan.seed}"
    return f"--domain {plan.domain}{start} {length}"


def same_images(first: Generator, second: Generator) -> int:
    """Return the largest difference in levels over the images of ``CHECKED`` seeds at psi 1."""
    with torch.inference_mode():
        z = torch.from_numpy(draw_z(CHECKED, first.spec.z_dim))
        one, two = (image_to_uint8(g(z).image).short() for g in (first, second))
        return int((one - two).abs().max())


def floor_distance(run: Path, plan: PretrainPlan) -> float:
    """Distance between training renders and as many held-out ones: no generator can do better."""
    count = plan.distance_samples
    features = Features()
    sets = (range(count), range(HELD_OUT_SEED, HELD_OUT_SEED + count))
    first, second = (
        features.of(
            to_tensor(rendered(plan.domain, seeds, run / f"floor-{seeds.start}-{count}.npy"))
        )
        for seeds in sets
    )
    return frechet_distance(first, second)


def parameters(network: torch.nn.Module) -> int:
    """Count the trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


@click.command()
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Pretraining folder.")
def main(run: Path) -> None:
    """Write generator, discriminator, alpha network and README to the package."""
    torch.set_flush_denormal(True)
    plan, history = recorded(run)
    # All weights come from the run: the ones it started from may have changed since.
    state = new_state(replace(plan, start=None))
    resume(state, run)
    target = BUILTIN[plan.domain].folder
    target.mkdir(parents=True, exist_ok=True)
    path = target / "generator.safetensors"
    kimg = state.step * plan.batch / 1000
    facts = {"domain": plan.domain, "start": plan.start, "seed": plan.seed, "kimg": kimg}
    half = True
    for half in (True, False):
        weights = state.g_ema.state_dict()
        save_generator(
            path, state.g_ema.spec, weights, half=half, licence=LICENCE, origin=ORIGIN,
            training=facts,
        )  # fmt: skip
        levels = same_images(state.g_ema, open_generator(path).build())
        if levels <= 1:
            break
    if levels > 1:
        raise L4FError(str(path), f"images moved by {levels} levels", "look at save_generator")
    save_discriminator(
        target / "discriminator.safetensors", state.discriminator, half=True, licence=LICENCE,
        origin=ORIGIN, training=facts,
    )  # fmt: skip

    recipe = load_recipe(find_recipe(plan.domain), [], {})
    checkpoint = open_generator(path)
    generator = checkpoint.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = time.monotonic()
    trained = train_alpha(recipe, checkpoint, run / "alpha", generator=generator).path
    alpha_minutes = (time.monotonic() - started) / 60
    shutil.copyfile(trained, target / "alpha.safetensors")
    alpha_parameters = sum(int(np.prod(s)) for s in alpha_shapes(trained))
    (target / "README.md").write_text(
        README.format(
            **vars(plan) | {"kimg": kimg},
            flags=command_flags(plan, kimg),
            started=f", from the shipped weights of {plan.start}" if plan.start else "",
            generator_parameters=parameters(state.g_ema),
            discriminator_parameters=parameters(state.discriminator),
            alpha_parameters=alpha_parameters,
            stored="fp16, its mapping network fp32" if half else "fp32",
            checked=len(CHECKED),
            levels=levels,
            minutes=state.seconds / 60,
            floor=floor_distance(run, plan),
            distances="\n".join(f"| {e['kimg']:g} | {e['frechet']} |" for e in history),
            alpha_seed=recipe.alpha.training.seed,
            alpha_steps=recipe.alpha.training.steps,
            alpha_minutes=alpha_minutes,
        )
    )
    click.echo(f"weights in {target}")


def alpha_shapes(path: Path) -> list[tuple[int, ...]]:
    """Shapes of the tensors in an alpha file."""
    from l4f_datagen.checkpoints.open import open_alpha

    return [tuple(tensor.shape) for tensor in open_alpha(path).state.values()]


if __name__ == "__main__":
    main()
