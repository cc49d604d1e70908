"""Taught alpha network: what the frozen features can show at all, were the masks known."""

from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F

from l4f_datagen.benchmark.alphas import changed, check_features, label
from l4f_datagen.benchmark.bench import Bench, Method, Prepared, claim_network
from l4f_datagen.benchmark.images import learnt_draws, synthesis_of
from l4f_datagen.benchmark.supervised import THRESHOLD, lacks_renders
from l4f_datagen.benchmark.truth import net_name, truth_net
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.segmenter.training import predict
from l4f_datagen.training.state import build_alpha

TAUGHT = "taught.safetensors"
EPSILON = 1e-5
"""Alphas are kept so far from 0 and 1, where the cross-entropy has no slope."""


@dataclass(frozen=True)
class Teaching:
    """How the alpha network is taught.

    Attributes:
        steps: of Adam.
        batch: pictures a step; they are those the segmenter learns from, each once.
        learning_rate: held for the first half, then falling to 0.
    """

    steps: int = 300
    batch: int = 16
    learning_rate: float = 5e-3


TEACHING = Teaching()


def prepare_taught(bench: Bench, seed: int) -> Prepared:
    """Teach a new alpha network the truth's masks, or open the one that is taught."""
    file = bench.network_folder("taught", seed) / TAUGHT
    claim_network(file.parent, settings(bench))
    if not file.exists():
        network = teach(bench, seed)
        save_alpha(
            file,
            network,
            generator_fingerprint=bench.checkpoint.fingerprint,
            licence=bench.checkpoint.licence,
            training={"taught": settings(bench), "seed": seed},
        )
    return Prepared(partial(label, bench, open_alpha(file).build()))


def teach(bench: Bench, seed: int) -> AlphaNetwork:
    """Train by cross-entropy to a toy domain's truth, on pictures that are not scored."""
    generator, truth = bench.generator, truth_net(bench)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_alpha(bench.recipe.alpha, generator)
    network.to(generator.w_avg.device)
    steps = bench.steps or TEACHING.steps
    draws = learnt_draws(bench, steps * TEACHING.batch)
    optimizer = torch.optim.Adam(network.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = TEACHING.learning_rate * min(1.0, 2 * (1 - step / steps))
        synthesis = synthesis_of(bench, draws[step * TEACHING.batch : (step + 1) * TEACHING.batch])
        images = image_to_uint8(synthesis.image).permute(0, 2, 3, 1).cpu().numpy()
        masks = torch.from_numpy(predict(truth, images) > THRESHOLD).float()[:, None]
        alphas = network(synthesis.features).clamp(EPSILON, 1 - EPSILON)
        loss = F.binary_cross_entropy(alphas, masks.to(alphas.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def settings(bench: Bench) -> str:
    """Name what decides the masks."""
    part = changed(bench.recipe.alpha, {"weights": None})
    shape = f"from {part.lowest_resolution} px, psi {part.training.psi}"
    plan = asdict(replace(TEACHING, steps=bench.steps or TEACHING.steps))
    return f"{plan} {shape} truth {net_name(bench)}"


TAUGHT_METHODS = {
    "taught": Method(
        "the alpha network taught by the net that learnt exact masks: what its features can show",
        prepare_taught,
        settings,
        lacking=lacks_renders,
        check=lambda bench: check_features(bench.recipe.alpha, bench.generator),
    )
}
