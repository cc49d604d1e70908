"""Turn a pretraining run into the weights that ship, with their figures beside them.

Run as ``python -m l4f_datagen.toys.release --run DIR`` after ``toys.pretrain --out DIR``.
Generator and discriminator are stored in half precision if the images stay within one level; the
alpha network is trained by the recipe on exactly what is stored.
"""

import json
import shutil
import time
from pathlib import Path

import click
import numpy as np
import torch

from l4f_datagen.alpha.run import run_training
from l4f_datagen.checkpoints.licences import Licence
from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.domains import BUILTIN, find_recipe, load_recipe
from l4f_datagen.errors import L4FError
from l4f_datagen.sample import image_to_uint8
from l4f_datagen.segmenter.training import to_tensor
from l4f_datagen.stylegan2.generator import Generator, draw_z
from l4f_datagen.toys.distance import Features, frechet_distance
from l4f_datagen.toys.pretrain import (
    HELD_OUT_SEED,
    PretrainPlan,
    new_state,
    rendered,
    resume,
)

LICENCE = Licence("apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", True)
ORIGIN = "l4f_datagen.toys.pretrain"
CHECKED = range(200)

README = """\
# Weights of toy-cars

Apache-2.0. Trained from nothing but the renders of `l4f_datagen/toys/scene.py`, on 2 CPU cores:

```sh
python -m l4f_datagen.toys.pretrain --out RUN --kimg {kimg:g} --seed {seed}
python -m l4f_datagen.toys.release --run RUN
```

| file | what | parameters | stored as |
|---|---|---|---|
| generator.safetensors | averaged generator, 64 px | {generator_parameters:,} | {stored} |
| discriminator.safetensors | its discriminator | {discriminator_parameters:,} | fp16 |
| alpha.safetensors | alpha network of `recipes/toy-cars.yaml` | {alpha_parameters:,} | fp32 |

Stored so, no pixel of {checked} images moves by more than {levels} level of 255.

Generator: seed {seed}, {scenes:,} scenes, batch {batch}, {kimg:g} kimg, {minutes:.0f} minutes on 2
shared cores. Fréchet distance (fixed random features, `toys/distance.py`) of
{distance_samples:,} samples to as many held-out renders; two sets of renders are {floor:.4f} apart:

| kimg | distance |
|--:|--:|
{distances}

Alpha network: the recipe's training, seed {alpha_seed}, {alpha_steps} steps,
{alpha_minutes:.1f} minutes. Its scores are in the project's README and come from
`python benchmarks/toycars_quality.py`.
"""


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
        features.of(to_tensor(rendered(seeds, run / f"floor-{seeds.start}-{count}.npy")))
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
    history = [json.loads(line) for line in (run / "distance.jsonl").read_text().splitlines()]
    plan = PretrainPlan(**(history[-1]["plan"]))
    state = new_state(plan)
    resume(state, run)
    target = BUILTIN["toy-cars"].folder
    target.mkdir(exist_ok=True)
    path = target / "generator.safetensors"
    facts = {"seed": plan.seed, "kimg": state.step * plan.batch / 1000}
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

    recipe = load_recipe(find_recipe("toy-cars"), [], {})
    checkpoint = open_generator(path)
    generator = checkpoint.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = time.monotonic()
    trained = run_training(recipe.alpha, generator, checkpoint, run / "alpha", click.echo)
    alpha_minutes = (time.monotonic() - started) / 60
    shutil.copyfile(trained, target / "alpha.safetensors")
    latest = {entry["kimg"]: entry for entry in history}
    alpha_parameters = sum(int(np.prod(s)) for s in alpha_shapes(trained))
    (target / "README.md").write_text(
        README.format(
            **vars(plan) | {"kimg": facts["kimg"]},
            generator_parameters=parameters(state.g_ema),
            discriminator_parameters=parameters(state.discriminator),
            alpha_parameters=alpha_parameters,
            stored="fp16, its mapping network fp32" if half else "fp32",
            checked=len(CHECKED),
            levels=levels,
            minutes=state.seconds / 60,
            floor=floor_distance(run, plan),
            distances="\n".join(f"| {k:g} | {e['frechet']} |" for k, e in sorted(latest.items())),
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
