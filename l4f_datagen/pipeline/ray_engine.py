"""The engine of a cluster: each shard is a Ray task that renders, encodes and writes it.

Tasks write into the dataset itself, so its folder must be one that all nodes share, or a URL.
A task whose worker is lost is run again, elsewhere; what it left is taken away first.
"""

import functools
import json
import socket
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.core.progress import Progress
from l4f_datagen.dataset.formats.backgrounds import backgrounds_of
from l4f_datagen.dataset.manifest import Marker
from l4f_datagen.dataset.open import guest_dataset
from l4f_datagen.dataset.store import Dataset
from l4f_datagen.pipeline.job import Job, MakeShard
from l4f_datagen.pipeline.local_engine import labelled
from l4f_datagen.pipeline.networks import open_networks
from l4f_datagen.recipe import Recipe, check_recipe
from l4f_datagen.rendering.plan import sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer, renderer_of

MAX_RETRIES = 5
"""Times a shard is begun again after its worker was lost."""
KNOCK_SECONDS = 15.0
"""How long a cluster may take to accept a connection."""


@dataclass(frozen=True)
class Order:
    """What a worker needs to make a shard; travels to it as plain values.

    Attributes:
        recipe: as JSON.
        out: folder or URL, as text.
        is_url: which of them.
        number: see ``Quota``.
        count: see ``Quota``.
        device: "cpu", "cuda" or "mps": the kind that the driver chose.
        offline: fetch nothing.
    """

    recipe: str
    out: str
    is_url: bool
    number: int
    count: str
    device: str
    offline: bool


def make_shard_of(order: Order, shard: int, wanted: int | None) -> None:
    """Make one shard, in a worker: the same bytes as anywhere else."""
    torch.set_num_threads(1)  # a task is one core's worth
    recipe, renderer = _opened(order.recipe, order.device, order.offline)
    quota = Quota(order.number, order.count, sweep_of(recipe.sampling))
    blocks = quota.blocks(shard)
    out = order.out if order.is_url else Path(order.out)
    with guest_dataset(out, recipe.output, backgrounds_of(recipe.output)) as dataset:
        samples = labelled(map(renderer.render, blocks), recipe)
        dataset.write(shard, samples, planned=sum(map(len, blocks)), wanted=wanted)


@functools.lru_cache(maxsize=1)
def _opened(recipe_json: str, device: str, offline: bool) -> tuple[Recipe, Renderer]:
    """Open the networks once a worker process; Ray keeps it for the next shards."""
    recipe = check_recipe(json.loads(recipe_json), "recipe")
    networks = open_networks(recipe, device, offline=offline)
    return recipe, renderer_of(recipe, networks.generator, networks.alpha)


@contextmanager
def ray_engine(job: Job, renderer: Renderer, dataset: Dataset, quota: Quota) -> Iterator[MakeShard]:
    """Make shards as Ray tasks, as many at once as the cluster has cores or GPUs.

    Raises:
        UsageError: Ray is not installed, or the cluster cannot be reached or has no GPU.
        L4FError: Ray does not start here, or a shard's worker was lost again and again.
    """
    ray = _import_ray()
    began = not ray.is_initialized()
    if began:
        _connect(ray, job.ray_address)
    device = renderer.device.type
    resource = "GPU" if device == "cuda" else "CPU"
    slots = int(ray.cluster_resources().get(resource, 0))
    if slots < 1:
        remedy = "start the cluster with some, or choose another --device"
        raise UsageError("--engine ray", f"the cluster has no {resource}", remedy)
    order = Order(
        job.recipe.model_dump_json(),
        job.out if isinstance(job.out, str) else str(job.out.absolute()),
        isinstance(job.out, str),
        job.number,
        job.count,
        device,
        job.offline,
    )
    task = ray.remote(num_cpus=1, num_gpus=int(device == "cuda"), max_retries=MAX_RETRIES)(
        make_shard_of
    )
    running: OrderedDict[int, Any] = OrderedDict()

    def begin_ahead(shard: int) -> None:
        if shard not in running:
            running[shard] = task.remote(order, shard, None)
        while len(running) <= slots and quota.blocks(shard):
            if shard not in running and not dataset.marked(shard):
                running[shard] = task.remote(order, shard, None)
            shard += quota.step

    def fetch(shard: int) -> None:
        try:
            ray.get(running[shard])
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, L4FError) else error from error
        except ray.exceptions.RayError as error:
            problem = f"shard {shard} was lost with its worker {MAX_RETRIES + 1} times ({error})"
            raise L4FError("--engine ray", problem, "see the logs of Ray, then resume") from error
        del running[shard]  # not before: whatever ends the wait, the task is stopped then

    def make_shard(shard: int, progress: Progress) -> Marker:
        planned = sum(map(len, quota.blocks(shard)))
        begin_ahead(shard)
        fetch(shard)
        marker = dataset.adopt_shard(shard, planned=planned, wanted=quota.wanted)
        if marker is None:  # the dataset ends inside this shard
            _cancel(ray, running, dataset)
            running[shard] = task.remote(order, shard, quota.wanted)
            fetch(shard)
            marker = dataset.adopt_shard(shard, planned=planned, wanted=quota.wanted)
        if marker is None:
            raise L4FError("--engine ray", f"shard {shard} is torn", "run the same command again")
        progress.settle(quota.accepted + marker.accepted, quota.attempted + marker.attempted)
        return marker

    try:
        yield make_shard
    finally:
        try:
            _cancel(ray, running, dataset)
        finally:
            if began:
                ray.shutdown()


def _cancel(ray: Any, running: OrderedDict[int, Any], dataset: Dataset) -> None:
    """Stop what is under way, wait for it, and remove what it has written into the folder.

    None of it may stand in a finished dataset, nor be written into one. Of a dataset at a URL what
    was sent goes with the indexes, or with the next run; a killed worker's own scratch folder is
    the system's to empty.
    """
    for reference in running.values():
        ray.cancel(reference, force=True)
    while running:
        shard, reference = running.popitem()
        with suppress(ray.exceptions.RayError):  # cancelled, or failed: nobody wants it now
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
    """Connect to the cluster at an address; None: to one of this machine's own, which is started.

    Raises:
        UsageError: nothing answers at the address.
        L4FError: Ray does not start here.
    """
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    try:
        if address:
            _knock(address)
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # a node that does not come up in time raises a bare one
        reason = " ".join(str(error).split())[:200]
        if address is None:
            remedy = "start it with `ray start --head` and give --ray-address, or see its logs"
            raise L4FError("--engine ray", f"Ray did not start ({reason})", remedy) from error
        problem = f"no cluster answers there ({reason})"
        remedy = "start one with `ray start --head`, or leave --ray-address out"
        raise UsageError(f"--ray-address {address}", problem, remedy) from error


def _knock(address: str) -> None:
    """Connect once where an address names host and port: Ray itself tries for many minutes.

    Raises:
        OSError: nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
