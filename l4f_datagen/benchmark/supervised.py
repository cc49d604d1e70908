"""Networks that are trained on masks: the upper bounds, and the U-Net that draws a toy's truth."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from l4f_datagen.benchmark.alphas import ALPHAS, changed, check_features, label
from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared, blocks_of
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.unet import UNet
from l4f_datagen.segmenter.model import open_segmenter
from l4f_datagen.segmenter.run import Material, run_training
from l4f_datagen.segmenter.training import Arrays, Augmentation, Plan, Samples, predict
from l4f_datagen.toys.scene import HELD_OUT_SEED, render_scenes
from l4f_datagen.training.state import build_alpha

THRESHOLD = 0.5
TRUTH = "truth"  # folder of the pseudo-truth, and the name of its row
TRUTH_SEED = 0
TRUTH_STEPS = 5  # in a trial the truth's U-Net has so many times the steps of a method
NO_SAMPLES = Arrays(np.zeros((0, 1, 1, 3), np.uint8), np.zeros((0, 1, 1), np.float32))
EPSILON = 1e-5  # alphas stay this far from 0 and 1, where the cross-entropy has no slope


@dataclass(frozen=True)
class UNetSizes:
    """How much the U-Nets are trained and evaluated on."""

    scenes: int = 12_000  # renders with exact masks to train on, scene seeds from 0
    samples: int = 5_000  # generated images labelled by ``full`` to train on
    steps: int = 1_000  # of AdamW
    eval_scenes: int = 4_000  # other renders for evaluation, scene seeds from ``HELD_OUT_SEED``


@dataclass(frozen=True)
class TaughtPlan:
    """How an alpha network is trained on the truth."""

    steps: int = 300  # of Adam
    batch: int = 16  # images per step; each image is used once
    learning_rate: float = 5e-3  # constant for the first half, then falling to 0


UNETS, TAUGHT = UNetSizes(), TaughtPlan()


def made_late(count: int, make: Callable[[], Arrays]) -> Samples:
    """Return samples that are made for the first batch: none if all is trained already."""
    made = cache(make)
    return Samples(count, lambda picked: made().batch(picked))


def render(seeds: range, side: int, domain: str) -> Arrays:
    """Render scenes with their exact alphas."""
    images = np.zeros((len(seeds), side, side, 3), np.uint8)
    alphas = np.zeros((len(seeds), side, side), np.float32)
    for k, scene in enumerate(render_scenes(seeds, side, torch.get_num_threads(), domain)):
        images[k], alphas[k] = scene.image, scene.alpha
    return Arrays(images, alphas)


def eval_renders(bench: Bench, number: int) -> list[tuple[Block, Masks, Masks]]:
    """Return renders that nothing was trained on, with their exact masks; no pixel is ignored."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + number)
    scenes = render(seeds, bench.side, bench.recipe.domain)
    masks = scenes.alphas > THRESHOLD
    return [(Block([], scenes.images), masks, np.zeros_like(masks))]


def unet_sizes(bench: Bench) -> UNetSizes:
    """Return how much the U-Nets of a benchmark learn from, less in a trial."""
    sizes = UNetSizes(*(bench.sized(number) for number in astuple(UNETS)))
    if bench.config.trial and bench.config.steps:
        sizes = replace(sizes, steps=min(sizes.steps, TRUTH_STEPS * bench.config.steps))
    return sizes


def unet_plan(bench: Bench, seed: int, steps: int | None) -> Plan:
    """Return the training of a U-Net, without zoom: all images show the object at one scale."""
    own = steps or unet_sizes(bench).steps
    return Plan(seed=seed, steps=own, augmentation=Augmentation(moved=0))


def train_on_renders(bench: Bench, seed: int, folder: Path, steps: int | None = None) -> UNet:
    """Train a U-Net on renders with exact masks, or open the trained one."""
    domain, side, count = bench.recipe.domain, bench.side, unet_sizes(bench).scenes
    scenes = partial(render, range(count), side, domain)
    facts = {"renders of": domain, "scenes": count, "side": side}
    source, plan = made_late(count, scenes), unet_plan(bench, seed, steps)
    return train_unet(bench, source, facts, plan, folder)


def train_unet(
    bench: Bench, source: Samples, facts: dict[str, object], plan: Plan, folder: Path
) -> UNet:
    """Train a U-Net in its folder on the bench's device, or open the trained one."""
    category, licence = bench.recipe.output.category, bench.checkpoint.licence
    material = Material(source, NO_SAMPLES, max(bench.size_hw), category, licence, facts)
    file = run_training(material, plan, folder, device=bench.device)
    return open_segmenter(file, bench.device).network


def mask(net: UNet, block: Block) -> Masks:
    """Mask images with a U-Net."""
    found: Masks = alpha_to_mask(predict(net, block.images, batch=8), THRESHOLD)
    return found


def truth_net(bench: Bench) -> UNet:
    """Train the U-Net that draws a toy domain's truth, or open it."""
    return train_on_renders(bench, TRUTH_SEED, bench.config.out / TRUTH / "network")


def truth_name(bench: Bench) -> str:
    """Name the pseudo-truth by everything that decides it."""
    return digest_of([bench.recipe.domain, TRUTH_SEED, asdict(unet_sizes(bench))])


def digest_of(facts: object) -> str:
    """Name plain data by its SHA-256."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def prepare_supervised(bench: Bench, seed: int) -> Prepared:
    """Train on the renders that the truth's U-Net was trained on, with another seed than its 0."""
    folder = bench.network_folder("supervised", seed)
    return Prepared(partial(mask, train_on_renders(bench, seed + 1, folder, bench.config.steps)))


def prepare_segmenter(bench: Bench, seed: int) -> Prepared:
    """Train on images that ``full`` of the same training seed has labelled."""
    full, count = ALPHAS["full"].prepare(bench, seed), unet_sizes(bench).samples

    def labelled() -> Arrays:
        images, masks = [], []
        for draws in blocks_of(bench.training_draws(count)):
            images.append(np.stack([sample.image for sample in bench.renderer.render(draws)]))
            masks.append(full.label(Block(draws, images[-1])))
        return Arrays(np.concatenate(images), np.concatenate(masks).astype(np.float32))

    facts = {"labels of": ALPHAS["full"].settings(bench), "samples": count, "seed": seed}
    source, plan = made_late(count, labelled), unet_plan(bench, seed, bench.config.steps)
    net = train_unet(bench, source, facts, plan, bench.network_folder("segmenter", seed))
    return Prepared(partial(mask, net), full.collapse)


def prepare_taught(bench: Bench, seed: int) -> Prepared:
    """Train an alpha network on the truth's masks, or open the trained one."""
    settings, given = taught_settings(bench), bench.checkpoint
    file = bench.claim_network("taught", seed, settings) / "taught.safetensors"
    if not file.exists():
        network, facts = teach(bench, seed), {"taught": settings, "seed": seed}
        name, licence = given.fingerprint, given.licence
        save_alpha(file, network, generator_fingerprint=name, licence=licence, training=facts)
    return Prepared(partial(label, bench, open_alpha(file).build()))


def teach(bench: Bench, seed: int) -> AlphaNetwork:
    """Train by cross-entropy to a toy domain's truth, on images that are not scored."""
    truth = truth_net(bench)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_alpha(bench.recipe.alpha, bench.generator)
    network.to(bench.device)
    steps = bench.config.steps or TAUGHT.steps
    draws = bench.training_draws(steps * TAUGHT.batch)
    optimizer = torch.optim.Adam(network.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = TAUGHT.learning_rate * min(1.0, 2 * (1 - step / steps))
        synthesis = bench.synthesis(draws[step * TAUGHT.batch : (step + 1) * TAUGHT.batch])
        images = image_to_uint8(synthesis.image).permute(0, 2, 3, 1).cpu().numpy()
        masks = torch.from_numpy(predict(truth, images) > THRESHOLD).float()[:, None]
        alphas = network(synthesis.features).clamp(EPSILON, 1 - EPSILON)
        loss = F.binary_cross_entropy(alphas, masks.to(alphas.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def taught_settings(bench: Bench) -> str:
    """Name what decides the masks of ``taught``."""
    part = changed(bench.recipe.alpha, {"weights": None})
    shape = f"from {part.lowest_resolution} px, psi {part.training.psi}"
    plan = asdict(replace(TAUGHT, steps=bench.config.steps or TAUGHT.steps))
    return f"{plan} {shape} truth {truth_name(bench)}"


def unet_settings(bench: Bench) -> str:
    """Name what decides the masks of a U-Net."""
    return f"{asdict(unet_sizes(bench))} {asdict(unet_plan(bench, 0, bench.config.steps))}"


STRIDE = 1 << (Plan().depth - 1)  # of these U-Nets
TOY: dict[str, Any] = {
    "needs": "renders with exact masks, which toy domains alone have",
    "has": lambda bench: bench.is_toy,
}
# The U-Nets stand for what a user would train; ``taught`` shows the limit of the features.
SUPERVISED = {
    "segmenter": Method(
        prepare_segmenter,
        lambda bench: f"{unet_settings(bench)} {ALPHAS['full'].settings(bench)}",
        needs=f"images whose sides are multiples of {STRIDE} px",
        has=lambda bench: not any(side % STRIDE for side in bench.size_hw),
        check=ALPHAS["full"].check,
        takes_renders=True,
    ),
    "supervised": Method(prepare_supervised, unet_settings, takes_renders=True, **TOY),
    "taught": Method(
        prepare_taught,
        taught_settings,
        check=lambda bench: check_features(bench, bench.recipe.alpha),
        **TOY,
    ),
}
