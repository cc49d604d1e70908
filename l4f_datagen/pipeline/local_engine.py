"""The engine of one machine: threads render pieces of blocks, a bounded number ahead."""

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from l4f_datagen.core.progress import Progress, usable_cores
from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.manifest import Marker
from l4f_datagen.dataset.store import Dataset
from l4f_datagen.models.devices import choose_devices, flush_denormals
from l4f_datagen.pipeline.config import MakeConfig, MakeShard
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.filters import FilterChain, measured
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer, renderer_of

MAX_CPU_THREADS = 32  # more threads than this render no faster: one thread encodes and writes
CUDA_THREADS = 4
"""One launches kernels, one waits for bytes, two measure masks (longest above 64 px)."""
AHEAD = 2  # pieces in work or waiting for each thread, so that no thread is idle between two pieces

Block = Sequence[Draw]
Needed = Callable[[], float | None]  # attempts likely needed beyond those handed out; None: all


def render_threads(renderers: Sequence[Renderer], workers: int | None = None) -> list[Renderer]:
    """Return the renderer of each thread: a thread per core, or four per CUDA device.

    Several renderers on a CPU get one thread each; else ``workers`` (None: the usable cores).
    """
    first = renderers[0]
    if first.device.type == "cuda":
        return [*renderers] * CUDA_THREADS
    if first.device.type != "cpu" or len(renderers) > 1:
        return [*renderers]
    return [first] * (workers or min(MAX_CPU_THREADS, usable_cores()))


class LocalEngine:
    """Renders blocks in the order of the plan; the bytes do not depend on the number of threads.

    The next blocks are started before they are asked for, also those of the shard that
    ``next_shard`` names, so that rendering does not wait while files are encoded and written. The
    queue is bounded, so memory does not grow with the number of samples. ``postprocess`` is done in
    the threads.
    """

    def __init__(
        self,
        threads: Sequence[Renderer],
        blocks: Callable[[int], Sequence[Block]],
        next_shard: Callable[[int], int],
        postprocess: Callable[[list[Sample]], list[Sample]] = list,
    ) -> None:
        self._blocks, self._next_shard, self._postprocess = blocks, next_shard, postprocess
        self._renderers, self._thread = iter(threads), threading.local()
        self._pool = ThreadPoolExecutor(len(threads), "render", self._start_thread)
        self._limit = AHEAD * len(threads)
        self._pieces = threads[0].pieces
        self._queue: deque[tuple[int, int, list[Future[list[Sample]]]]] = deque()
        self._waiting: Iterator[tuple[int, Block]] = iter(())

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_: object) -> None:
        """Drop waiting pieces and wait for those in work."""
        self._queue.clear()
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch.get_num_threads())  # for threads that start from now on

    def render(self, shard: int, needed: Needed = lambda: None) -> Iterator[list[Sample]]:
        """Yield the blocks of a shard in order; nothing unneeded is started ahead."""
        if not self._queue or self._queue[0][0] != shard:
            for *_, pieces in self._queue:
                for piece in pieces:
                    piece.cancel()
            self._queue.clear()
            self._waiting = self._blocks_from(shard)
        for _ in range(len(self._blocks(shard))):
            self._refill(needed())
            _, _, pieces = self._queue.popleft()
            yield [sample for piece in pieces for sample in piece.result()]

    def _blocks_from(self, shard: int) -> Iterator[tuple[int, Block]]:
        while blocks := self._blocks(shard):
            yield from ((shard, block) for block in blocks)
            shard = self._next_shard(shard)

    def _refill(self, needed: float | None) -> None:
        while len(self._queue) < 2 or sum(len(parts) for *_, parts in self._queue) < self._limit:
            ahead = sum(number for _, number, _ in self._queue)
            if self._queue and needed is not None and ahead >= needed:
                return
            shard, block = next(self._waiting, (None, None))
            if shard is None or block is None:
                return
            pieces = [self._pool.submit(self._piece, draws) for draws in self._pieces(block)]
            self._queue.append((shard, len(block), pieces))

    def _start_thread(self) -> None:
        flush_denormals()  # both are settings per thread
        torch.set_num_threads(1)
        self._thread.renderer = next(self._renderers)

    def _piece(self, draws: Sequence[Draw]) -> list[Sample]:
        renderer: Renderer = self._thread.renderer
        return self._postprocess(renderer.start(draws)())


@contextmanager
def local_engine(
    job: MakeConfig, renderer: Renderer, dataset: Dataset, quota: Quota
) -> Iterator[MakeShard]:
    """Make shards in this process; see ``LocalEngine``."""
    devices = choose_devices(job.devices) or [renderer.device]
    renderers = {renderer.device: renderer}
    for device in devices:
        if device not in renderers:
            generator = copy.deepcopy(renderer.generator).to(device)
            alpha = copy.deepcopy(renderer.alpha).to(device) if renderer.alpha else None
            renderers[device] = renderer_of(job.recipe, generator, alpha)
    threads = render_threads([renderers[device] for device in devices], job.workers)

    def next_shard(shard: int) -> int:
        shard += quota.step
        while dataset.marked(shard):
            shard += quota.step
        return shard

    with LocalEngine(threads, quota.blocks, next_shard, measured) as engine:

        def make_shard(shard: int, progress: Progress) -> Marker:
            def needed() -> float | None:
                return quota.attempts_ahead(progress.accepted, progress.rejected)

            blocks = filtered(engine.render(shard, needed), job.recipe, progress)
            planned = sum(map(len, quota.blocks(shard)))
            return dataset.write(shard, blocks, planned=planned, wanted=quota.wanted)

        yield make_shard


def filtered(
    blocks: Iterable[list[Sample]], recipe: Recipe, progress: Progress | None = None
) -> Iterator[list[Sample]]:
    """Apply the filters to the blocks of a shard, in the order of the plan."""
    chain = FilterChain(recipe.filters)
    for block in blocks:
        samples = chain(block)
        yield samples
        if progress:
            progress.rendered(samples)
