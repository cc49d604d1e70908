"""Ray: the bytes of the local engine, with workers killed and with a store in place of a folder."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.recipe import check_recipe

ray = pytest.importorskip("ray", reason="needs the extra [ray]")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")


def make(data, out, number=30, **options):
    return make_dataset(MakeConfig(check_recipe(data, "test"), out, number, **options))


@pytest.fixture(scope="module")
def cluster():
    """Two cores: of a node started here, or of the cluster that ``RAY_ADDRESS`` names.

    Ray gives a node up whose agents take more than 15 s to start, as they do on a machine that is
    busy with other things; a cluster that was started before goes round that.
    """
    own = {"num_cpus": 2, "object_store_memory": 200_000_000, "include_dashboard": False}
    options = {} if "RAY_ADDRESS" in os.environ else own
    ray.init(**options, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def workers():
    """Process ids of the workers that run our tasks: their parents serve this cluster."""
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
def test_the_same_bytes_as_the_local_engine(cluster, tiny_recipe, tmp_path, digests, count):
    make(tiny_recipe, tmp_path / "local", count=count)
    make(tiny_recipe, tmp_path / "ray", count=count, engine="ray")
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_workers_lose_nothing(cluster, tiny_recipe, tmp_path, digests):
    tiny_recipe["sampling"] |= {"block_size": 16, "blocks_per_shard": 16}
    make(tiny_recipe, tmp_path / "local", number=2000)
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
        make(tiny_recipe, tmp_path / "ray", number=2000, engine="ray")
    finally:
        over.set()
        killer.join()
    assert killed
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")


@pytest.mark.slow
def test_an_address_where_nothing_answers():
    from l4f_datagen.pipeline.ray_engine import _connect

    with pytest.raises(UsageError, match=r"--ray-address 127\.0\.0\.1:1: no cluster answers there"):
        _connect(ray, "127.0.0.1:1")
