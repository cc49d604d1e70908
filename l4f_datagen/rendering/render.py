"""Render a block of the plan: one synthesis pass gives image, alpha and mask."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from l4f_datagen.core.masks import alpha_to_mask, count_components, fill_holes, largest_component
from l4f_datagen.core.sample import Sample, image_to_uint8
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.devices import one_thread
from l4f_datagen.models.generator import Generator, Half, Mute, NoiseMode, Synthesis
from l4f_datagen.recipe import Recipe, SplitPart
from l4f_datagen.rendering.filters import DIGITS
from l4f_datagen.rendering.plan import Draw, split_of
from l4f_datagen.rendering.probes import Probe, ProbeContext, open_probes, paired_iou
from l4f_datagen.rendering.refine import Method, guided, matting
from l4f_datagen.rendering.styles import Styles, styles_of

HALF_RESOLUTIONS = 4  # fp16 is for so many of the top resolutions
CLEANUP = {"largest_component": largest_component, "fill_holes": fill_holes}
DRAWN, ALL_TRAIN = Styles(), SplitPart()
CPU_PIXELS = 32 * 64**2
"""Pixels rendered at once by one thread of a CPU: 32 images of 64 px, one of 512 px; larger batches
measured no faster."""


@dataclass(frozen=True)
class Renderer:
    """Generator and alpha network with everything that decides their pixels."""

    generator: Generator  # frozen, on its device
    alpha: AlphaNetwork | None  # None renders images alone
    noise_mode: NoiseMode = "const"
    mask_threshold: float = 0.9  # mask = alpha > threshold
    precision: str = "fp32"  # the reference; "bf16", autocast; "fp16", the top resolutions alone
    # Left, top, right, bottom of the image on the canvas, for image and alpha alike.
    crop: tuple[int, int, int, int] | None = None
    styles: Styles = DRAWN  # where ws come from
    # How the trunk is muted for ``Sample.background``; None renders none.
    background: Mute | None = None
    # How alpha is corrected by the image. Scores then hold ``refined``, 0 where alpha stayed as it
    # was, and ``refine_iou`` of the masks before and after.
    refine: Method = "none"
    mask_cleanup: tuple[str, ...] = ()  # names from ``CLEANUP``, done to the mask in this order
    split: SplitPart = ALL_TRAIN
    probes: Mapping[str, Probe] = field(default_factory=dict)  # score name -> what measures it

    def render(self, draws: Sequence[Draw]) -> list[Sample]:
        """Render a block; each sample is a function of its psi and seed alone."""
        return [sample for piece in self.pieces(draws) for sample in self.start(piece)()]

    def pieces(self, draws: Sequence[Draw]) -> list[Sequence[Draw]]:
        """Cut a block into batches: all of it, but on a CPU few large images at a time."""
        size = max(1, CPU_PIXELS // self.generator.spec.resolution**2)
        step = size if self.device.type == "cpu" else max(1, len(draws))
        return [draws[start : start + step] for start in range(0, len(draws), step)]

    @property
    def device(self) -> torch.device:
        """Where it renders."""
        return self.generator.w_avg.device

    @one_thread()
    @torch.inference_mode()
    def start(self, draws: Sequence[Draw]) -> Callable[[], list[Sample]]:
        """Begin to render draws as one batch; what is returned waits for it and gives the samples.

        On CUDA nothing here waits for the device: arrays travel into pinned memory.
        """
        seeds = [draw.seed for draw in draws]
        ws = self.styles.ws(self.generator, draws)
        noise = self.generator.noise(self.noise_mode, [noise_stream(seed) for seed in seeds])
        synthesis, alphas = self._paint(ws, noise)
        arrays = {"image": self._pixels(synthesis.image)}
        if alphas is not None:
            matte = self._cropped(alphas)
            if self.refine == "guided":
                raw = self._mask(alphas)
                matte, refined = guided(arrays["image"].permute(0, 3, 1, 2) / 255, matte)
                arrays["refined"] = refined
                after: Tensor = alpha_to_mask(matte[:, 0], self.mask_threshold)
                arrays["refine_iou"] = paired_iou(raw, after)
            arrays["alpha"] = matte[:, 0].contiguous()
        if self.background is not None:
            with self._precision():
                muted = self.generator.synthesis(ws, noise, self.background, half=self._half)
            arrays["background"] = self._pixels(muted.image)
        if alphas is not None and self.probes:

            def rerender(noise: Sequence[Tensor | None], mirror_at: int | None) -> Tensor:
                return self._mask(self._paint(ws, noise, mirror_at)[1])

            image, mask = synthesis.image, self._mask(alphas)
            context = ProbeContext(self.generator, seeds, noise, image, mask, rerender)
            arrays |= {name: probe(context) for name, probe in self.probes.items()}
        on_cuda = self.device.type == "cuda"
        host = {name: a.to("cpu", non_blocking=on_cuda) for name, a in arrays.items()}
        done = torch.cuda.Event() if on_cuda else None
        if done is not None:
            done.record(torch.cuda.current_stream(self.device))
        return partial(self._samples, draws, host, done)

    def _samples(
        self, draws: Sequence[Draw], on_host: Mapping[str, Tensor], done: torch.cuda.Event | None
    ) -> list[Sample]:
        """Wait for arrays, name -> ``batch ...``, and cut them into samples."""
        if done is not None:
            done.synchronize()
        host = {name: array.numpy() for name, array in on_host.items()}
        images = host.pop("image")
        alphas = host.pop("alpha", np.zeros(images.shape[:3], np.float32))
        backgrounds = host.pop("background", None)
        if self.refine == "matting":
            raw = alpha_to_mask(torch.from_numpy(alphas), self.mask_threshold)
            solved = [matting(*pair) for pair in zip(images, alphas, strict=True)]
            host["refined"] = np.array([s is not None for s in solved])
            pairs = zip(solved, alphas, strict=True)
            alphas = np.stack([before if after is None else after for after, before in pairs])
            after = alpha_to_mask(torch.from_numpy(alphas), self.mask_threshold)
            host["refine_iou"] = paired_iou(raw, after).numpy()
        made = []
        for k, draw in enumerate(draws):
            mask = alpha_to_mask(alphas[k], self.mask_threshold)
            scores = {name: round(float(values[k]), DIGITS) for name, values in host.items()}
            if self.mask_cleanup:  # alpha stays as the network gave it
                # Of before, by which a filter can tell a mask in pieces.
                (number,), (share,) = count_components(mask[None])
                parts = {"num_components": float(number), "largest_share": float(share)}
                scores = {name: round(part, DIGITS) for name, part in parts.items()} | scores
                for step in self.mask_cleanup:
                    mask = CLEANUP[step](mask)
            split = split_of(draw.key, self.split)
            background = None if backgrounds is None else backgrounds[k]
            named = (draw.image_id, draw.key, draw.psi, draw.seed)
            arrays = (images[k], alphas[k], mask)
            made.append(Sample(*named, *arrays, scores, split=split, background=background))
        return made

    def _paint(
        self, ws: Tensor, noise: Sequence[Tensor | None], mirror_at: int | None = None
    ) -> tuple[Synthesis, Tensor | None]:
        with self._precision():
            synthesis: Synthesis = self.generator.synthesis(
                ws, noise, half=self._half, mirror_at=mirror_at
            )
        if self.alpha is None:
            return synthesis, None
        with self._precision(of_alpha=True):
            return synthesis, self.alpha(synthesis.features)

    @property
    def _half(self) -> Half | None:
        """What of the synthesis runs in float16."""
        if self.precision != "fp16":
            return None
        return Half(torch.float16, self.generator.spec.resolution // 2 ** (HALF_RESOLUTIONS - 1))

    def _precision(self, *, of_alpha: bool = False) -> AbstractContextManager[object]:
        """Autocast for bf16; for fp16 only where the alpha network meets features of both kinds."""
        kinds = {"bf16": torch.bfloat16} | ({"fp16": torch.float16} if of_alpha else {})
        kind = kinds.get(self.precision)
        return torch.autocast(self.device.type, kind) if kind else nullcontext()

    def _cropped(self, canvas: Tensor) -> Tensor:
        left, top, right, bottom = self.crop or (0, 0, *canvas.shape[2:])
        return canvas[:, :, top:bottom, left:right]

    def _pixels(self, image: Tensor) -> Tensor:
        """Turn images into bytes on the device: uint8 ``batch h w 3``."""
        pixels: Tensor = image_to_uint8(self._cropped(image))
        return pixels.permute(0, 2, 3, 1).contiguous()

    def _mask(self, alphas: Tensor | None) -> Tensor:
        assert alphas is not None
        mask: Tensor = alpha_to_mask(self._cropped(alphas)[:, 0], self.mask_threshold)
        return mask


def noise_stream(seed: int) -> np.random.RandomState:
    """The stream of a sample's random noise inputs, apart from the one that draws its z."""
    return np.random.RandomState(np.array([seed, 1], dtype=np.uint32))


def renderer_of(
    recipe: Recipe,
    generator: Generator,
    alpha: AlphaNetwork | None,
    *,
    labelled: bool | None = None,
) -> Renderer:
    """Return the recipe's renderer; without an alpha network it renders images only.

    ``labelled`` opens what labels need (probes, backgrounds) though the alpha network comes later;
    None: where there is one. UsageError for a truncation cutoff beyond the generator's layers or
    without the discriminator that is asked for, InputRefused for latents that cannot be read or do
    not fit.
    """
    labelled = alpha is not None if labelled is None else labelled
    wants_background = labelled and recipe.output.composites == "generated"
    # Other backgrounds of a training are images from files; then muting is that of the paper.
    mute: Mute = "const" if recipe.alpha.background == "const" else "conv1"
    return Renderer(
        generator,
        alpha,
        noise_mode=recipe.sampling.noise_mode,
        mask_threshold=recipe.output.mask_threshold,
        precision=recipe.sampling.precision,
        crop=recipe.generator.crop,
        styles=styles_of(recipe.sampling, generator),
        background=mute if wants_background else None,
        refine=recipe.sampling.refine,
        mask_cleanup=recipe.sampling.mask_cleanup,
        split=recipe.output.split,
        probes=open_probes(recipe.filters, recipe.generator, generator) if labelled else {},
    )
