"""The engine of a cluster: each shard is a Ray task that renders, encodes and writes it.

Tasks write into the dataset itself, so all nodes must share its folder, or it must be a URL.
A task whose worker was lost runs again on another one, which first removes what was left.
"""

import functools
import socket
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.core.progress import Progress
from l4f_datagen.dataset.formats.backgrounds import backgrounds_of
from l4f_datagen.dataset.manifest import Marker
from l4f_datagen.dataset.store import Dataset, guest_dataset
from l4f_datagen.pipeline.config import MakeConfig, MakeShard
from l4f_datagen.pipeline.local_engine import filtered
from l4f_datagen.pipeline.networks import obtain_networks
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.plan import sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer

MAX_RETRIES = 5  # how often a shard is started again after its worker was lost
CONNECT_SECONDS = 15.0  # until a cluster accepts a connection; Ray itself tries for minutes


def make_shard_of(job: MakeConfig, shard: int, wanted: int | None) -> None:
    """Make one shard in a worker."""
    torch.set_num_threads(1)  # Ray reserves one core for a task
    renderer = _open_renderer(job.recipe, job.device, job.offline)
    blocks = Quota(job.number, job.count, sweep_of(job.recipe.sampling)).blocks(shard)
    output = job.recipe.output
    with guest_dataset(job.out, output, backgrounds_of(output)) as dataset:
        samples = filtered(map(renderer.render, blocks), job.recipe)
        dataset.write(shard, samples, planned=sum(map(len, blocks)), wanted=wanted)


@functools.lru_cache(maxsize=1)
def _open_renderer(recipe: Recipe, device: str, offline: bool) -> Renderer:
    """Open the networks once per worker process, which Ray keeps for the next shards."""
    # The driver has settled what it thinks of the alpha network.
    return obtain_networks(recipe, device, offline=offline, doubts="ignore").renderer


@contextmanager
def ray_engine(
    job: MakeConfig, renderer: Renderer, dataset: Dataset, quota: Quota
) -> Iterator[MakeShard]:
    """Make shards as Ray tasks, as many at once as the cluster has cores or GPUs."""
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        _connect(ray, job.ray_address)
    device = renderer.device.type
    resource = "GPU" if device == "cuda" else "CPU"
    slots = int(ray.cluster_resources().get(resource, 0))
    if slots < 1:
        remedy = "start the cluster with some, or choose another --device"
        raise UsageError("--engine ray", f"the cluster has no {resource}", remedy)
    out = job.out if isinstance(job.out, str) else job.out.absolute()
    order = replace(job, out=out, device=device)
    options = {"num_cpus": 1, "num_gpus": int(device == "cuda"), "max_retries": MAX_RETRIES}
    start = ray.remote(**options)(make_shard_of).remote
    running: OrderedDict[int, Any] = OrderedDict()

    def adopted(shard: int) -> Marker | None:
        """Wait for a task, and count its shard in; None where it has more than are wanted."""
        try:
            ray.get(running[shard])
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, L4FError) else error from error
        except ray.exceptions.RayError as error:
            problem = f"shard {shard} was lost with its worker {MAX_RETRIES + 1} times ({error})"
            raise L4FError("--engine ray", problem, "see the logs of Ray, then resume") from error
        del running[shard]  # only now: an interrupted wait must stop the task
        planned = sum(map(len, quota.blocks(shard)))
        return dataset.adopt_shard(shard, planned=planned, wanted=quota.wanted)

    def make_shard(shard: int, progress: Progress) -> Marker:
        if shard not in running:
            running[shard] = start(order, shard, None)
        ahead = shard
        while len(running) <= slots and quota.blocks(ahead):
            if ahead not in running and not dataset.marked(ahead):
                running[ahead] = start(order, ahead, None)
            ahead += quota.step
        marker = adopted(shard)
        if marker is None:  # the dataset ends inside this shard
            _cancel(ray, running, dataset)
            running[shard] = start(order, shard, quota.wanted)
            marker = adopted(shard)
        if marker is None:
            problem = f"shard {shard} is incomplete"
            raise L4FError("--engine ray", problem, "run the same command again")
        progress.settle(quota.accepted + marker.accepted, quota.attempted + marker.attempted)
        return marker

    try:
        yield make_shard
    finally:
        try:
            _cancel(ray, running, dataset)
        finally:
            if started:
                ray.shutdown()


def _cancel(ray: Any, running: OrderedDict[int, Any], dataset: Dataset) -> None:
    """Stop the running tasks, wait for them, and remove what they wrote into the folder.

    Shards beyond the end must not be in a finished dataset. At a URL, what was sent is removed
    with the indexes or by the next run.
    """
    for reference in running.values():
        ray.cancel(reference, force=True)
    while running:
        shard, reference = running.popitem()
        with suppress(ray.exceptions.RayError):  # cancelled, or failed: not needed any more
            ray.get(reference)
        dataset.discard_shard(shard)


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        problem = f"Ray is not installed ({error})"
        raise UsageError("--engine ray", problem, "pip install ray") from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connect to the cluster at an address; None: start one on this machine."""
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():  # does anything answer there?
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises a bare one if a node starts too slowly
        reason = " ".join(str(error).split())[:200]
        if address is None:
            remedy = "start it with `ray start --head` and give --ray-address, or see its logs"
            raise L4FError("--engine ray", f"Ray did not start ({reason})", remedy) from error
        problem = f"no cluster answers there ({reason})"
        remedy = "start one with `ray start --head`, or leave --ray-address out"
        raise UsageError(f"--ray-address {address}", problem, remedy) from error
