"""The engine of a cluster: with one that runs each task at once, in this process; with Ray itself,
whose workers are killed.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.pipeline import ray_engine as ray_engine_module
from l4f_datagen.rendering.quota import Share

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        self.cause = cause


class Cluster:
    """Runs tasks when their result is asked for; notes them and what is asked of the cluster."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, **resources):
        self.resources, self.done, self.cancelled, self.options = resources, [], [], {}

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return self.resources

    def remote(self, **options):
        self.options = options
        return lambda function: SimpleNamespace(remote=lambda *given: [function, given, True])

    def cancel(self, reference, force):
        """Kill the task in its midst: what it has staged stays behind."""
        reference[2] = False
        order, shard, _ = reference[1]
        self.cancelled.append(shard)
        if isinstance(order.out, Path):
            for place in (f"images/{shard:05d}.part", f"masks/{shard:05d}"):
                (order.out / place).mkdir(parents=True)

    def get(self, reference):
        function, given, wanted = reference
        if not wanted:
            raise RayError("cancelled")
        self.done.append(given[1:])
        try:
            return function(*given)
        except Exception as error:
            raise RayTaskError(error) from error


@pytest.fixture
def cluster(monkeypatch):
    cluster = Cluster(CPU=2)
    monkeypatch.setattr(ray_engine_module, "_import_ray", lambda: cluster)
    ray_engine_module._open_renderer.cache_clear()
    return cluster


@pytest.mark.slow
def test_the_same_bytes_as_the_local_engine(cluster, make, made, tmp_path, digests, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    local = made("local", 30)
    assert made("ray", 30, engine="ray") == local
    assert cluster.options == {"num_cpus": 1, "num_gpus": 0, "max_retries": 5}
    *whole, cut = cluster.done
    assert [shard for shard, _ in whole] == list(range(len(whole)))
    assert all(wanted is None for _, wanted in whole)
    assert cut[0] == len(whole) - 1  # the shard where the count ends, rendered once more
    assert 0 < cut[1] <= 8
    assert cluster.cancelled  # what was begun behind it
    make(f"file://{tmp_path}/far", 30, engine="ray")
    assert digests(tmp_path / "far") == local


@pytest.mark.slow
def test_only_an_incomplete_shard_is_rendered_again(cluster, made, tmp_path):
    before = made("out", 30, engine="ray", count="attempts")
    next((tmp_path / "out/alpha/00001").iterdir()).unlink()
    cluster.done.clear()
    assert made("out", 30, engine="ray", count="attempts") == before
    assert cluster.done == [(1, None)]


def test_a_share_runs_on_a_cluster_too(cluster, make):
    make("out", 30, engine="ray", count="attempts", share=Share(1, 2))
    assert [shard for shard, _ in cluster.done] == [1, 3]


def test_failures_of_tasks_are_reported(cluster, make, monkeypatch):
    refused = L4FError("shard", "refused", "no remedy")
    lost = r"shard 0 was lost with its worker 6 times \(node died\)"
    failures = {RayTaskError(refused): "shard: refused; no remedy", RayError("node died"): lost}
    for error, told in failures.items():
        monkeypatch.setattr(cluster, "get", Mock(side_effect=error))
        with pytest.raises(L4FError, match=told):
            make("out", 30, engine="ray")
    cluster.resources = {}
    with pytest.raises(UsageError, match="--engine ray: the cluster has no CPU; start the cluster"):
        make("out", 30, engine="ray")


@pytest.mark.slow
def test_an_interrupted_wait_stops_the_tasks(cluster, make, made, tmp_path, monkeypatch):
    get = cluster.get

    def interrupted(reference):
        """Ctrl-C in the wait for shard 1."""
        if reference[1][1] == 1 and reference[2]:
            raise KeyboardInterrupt
        return get(reference)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "get", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make("out", 30, engine="ray", count="attempts")
    assert 1 in cluster.cancelled
    assert not list((tmp_path / "out").rglob("*.part"))
    resumed = made("out", 30, engine="ray", count="attempts")
    assert resumed == made("whole", 30, count="attempts")


@pytest.mark.parametrize(
    ("address", "error", "match"),
    [
        (None, L4FError, r"--engine ray: Ray did not start \(timed out\); start it with"),
        ("auto", UsageError, r"--ray-address auto: no cluster answers there \(timed out\)"),
        ("127.0.0.1:1", UsageError, r"127.0.0.1:1: no cluster answers there \(.*refused\)"),
        ("ray://127.0.0.1:1", UsageError, r"127.0.0.1:1: no cluster answers there \(.*refused\)"),
    ],
)
def test_ray_that_does_not_start_and_addresses_that_do_not_answer(
    cluster, make, monkeypatch, address, error, match
):
    as_bare_as_rays_own = Mock(side_effect=Exception("timed\nout"))
    monkeypatch.setattr(cluster, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "init", as_bare_as_rays_own, raising=False)
    with pytest.raises(error, match=match):
        make("out", 30, engine="ray", ray_address=address)


def test_ray_that_is_not_installed(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"Ray is not installed .*; pip install ray"):
        make("out", 30, engine="ray")


# ---------------------------------------------------------------------------------- Ray itself


@pytest.fixture(scope="module")
def real_cluster():
    """Two cores: of a node started here, or of the cluster that ``RAY_ADDRESS`` names.

    Ray gives a node up whose agents take more than 15 s to start, as they do on a machine that is
    busy with other things; a cluster that was started before goes round that.
    """
    ray = pytest.importorskip("ray", reason="needs the extra [ray]")
    own = {"num_cpus": 2, "object_store_memory": 200_000_000, "include_dashboard": False}
    options = {} if "RAY_ADDRESS" in os.environ else own
    ray.init(**options, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def workers():
    """Process ids of the workers that run our tasks: their parents serve this cluster."""
    import ray

    ours = f"--gcs-address={ray.get_runtime_context().gcs_address}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            is_ours = ours in Path(f"/proc/{parent}/cmdline").read_bytes()
            if is_ours and (entry / "cmdline").read_bytes().startswith(b"ray::make_shard_of"):
                found.append(int(entry.name))
    return found


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", ["accepted", "attempts"])
def test_ray_gives_the_same_bytes_as_the_local_engine(real_cluster, made, count):
    local = made("local", 30, count=count)
    assert made("ray", 30, count=count, engine="ray") == local


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_workers_lose_nothing(real_cluster, made, tiny_recipe):
    tiny_recipe["sampling"] |= {"block_size": 16, "blocks_per_shard": 16}
    local = made("local", 2000)
    killed, over = [], threading.Event()

    def kill():
        while not over.is_set() and len(killed) < 3:
            time.sleep(1)
            for worker in workers()[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        on_ray = made("ray", 2000, engine="ray")
    finally:
        over.set()
        killer.join()
    assert killed
    assert on_ray == local
