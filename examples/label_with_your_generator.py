"""Label images of your own StyleGAN2: train an alpha network without labels, then make a dataset.

    python examples/label_with_your_generator.py my-stylegan2.pkl --out labelled --n 1000

Without a file it takes the generator of the toy cars, which ships with the package. Training takes
minutes on a CPU at 64 px and is resumed by the same command.
"""

import argparse
from pathlib import Path

from l4f_datagen import load_recipe, make_dataset, open_generator, show_logs, train_alpha


def label(
    generator: str,
    out: Path,
    n: int,
    steps: int | None,
    device: str = "auto",
    *,
    accept: bool = False,
) -> None:
    """Train an alpha network into ``out/alpha`` and make ``n`` samples in ``out/dataset``.

    An unusable network is an error unless ``accept`` is set.
    """
    checkpoint = open_generator(generator)
    side = checkpoint.spec.resolution
    print(f"{checkpoint.path.name}: {checkpoint.format}, {side} x {side} px")

    settings = {} if steps is None else {"alpha__training__steps": steps}
    recipe = load_recipe(generator=checkpoint.path, **settings)
    trained = train_alpha(recipe, checkpoint, out / "alpha", device=device)
    print(f"the alpha network is {trained.verdict}")

    recipe = load_recipe(generator=checkpoint.path, alpha=trained.path, formats=["png", "hf"])
    options = {"device": device, "accept_doubtful_alpha": accept}
    manifest = make_dataset(recipe, out / "dataset", n, **options)
    print(f"{manifest['counts']['accepted']} samples, look at {out / 'dataset' / 'report.html'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generator", nargs="?", default="toy-cars", help="checkpoint or domain")
    parser.add_argument("--out", type=Path, default=Path("labelled"))
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--steps", type=int, help="length of the training; default the recipe's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--accept-doubtful-alpha", action="store_true")
    given = parser.parse_args()
    show_logs()
    accept = given.accept_doubtful_alpha
    label(given.generator, given.out, given.n, given.steps, given.device, accept=accept)
