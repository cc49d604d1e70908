"""Bytes a second of `push` beside a plain PUT of the same shards. python benchmarks/push.py.

Both go to the Hub of the tests, in a process of its own on this machine, which checks the SHA-256
of what arrives as the true one does. They take turns, so that a busy machine hurts both alike; the
ratios are what to quote: of rates, and of CPU seconds of both processes, which a busy machine
leaves alone. `push` is measured whole: checks, card, commits and all.
"""

import json
import multiprocessing as mp
import os
import runpy
import shutil
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import click

HUB = Path(__file__).parents[1] / "tests" / "hub"
NAME = "user/bench"


def serve(folder: Path, pipe: Connection) -> None:
    """Run the server; every message empties it, an empty one ends it."""
    serving = SimpleNamespace(**runpy.run_path(str(HUB / "serving.py")))
    with serving.serve(folder) as hub:
        pipe.send((hub.url, serving.TOKEN))
        while pipe.recv():
            hub.repos.clear()
            for path in hub.objects.iterdir():
                path.unlink()
            pipe.send(time.process_time())


def plain_put(url: str, dataset: Path) -> float:
    """Bytes a second of one PUT a shard, one after the other."""
    import httpx2

    from l4f_datagen.hub.content import read_content

    shards = read_content(dataset).samples
    started = time.perf_counter()
    with httpx2.Client(timeout=None) as client:
        for shard in shards:
            with (dataset / shard.path).open("rb") as file:
                length = {"Content-Length": str(shard.size)}
                answer = client.put(f"{url}/lfs/{shard.sha256}", content=file, headers=length)
            answer.raise_for_status()
    return sum(shard.size for shard in shards) / (time.perf_counter() - started)


def whole_push(_: str, dataset: Path) -> float:
    """Bytes a second of `push`, from reading the manifest to the last commit."""
    from l4f_datagen.hub.publish import plan_push, push

    started = time.perf_counter()
    done = push(plan_push(dataset, NAME))
    return done.size / (time.perf_counter() - started)


@click.command()
@click.option("--n", "number", default=128, show_default=True, help="Samples.")
@click.option("--size", default=1024, show_default=True, help="Pixels a side.")
@click.option("--turns", default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(number: int, size: int, turns: int, as_json: bool) -> None:
    published = runpy.run_path(str(HUB / "published.py"))
    with tempfile.TemporaryDirectory() as scratch:
        dataset = published["publishable"](Path(scratch) / "discs", number, size=size)
        context = mp.get_context("spawn")
        pipe, other = context.Pipe()
        server = context.Process(target=serve, args=(Path(scratch) / "hub", other), daemon=True)
        server.start()
        url, token = pipe.recv()
        os.environ |= {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
        os.environ |= {"HF_HOME": f"{scratch}/home", "HF_HUB_DISABLE_TELEMETRY": "1"}
        rates: dict[str, list[float]] = {"put": [], "push": []}
        work: dict[str, list[float]] = {"put": [], "push": []}
        pipe.send(True)
        served = pipe.recv()
        for turn in range(turns + 1):
            for name, measure in (("put", plain_put), ("push", whole_push)):
                own = time.process_time()
                rate = measure(url, dataset)
                own = time.process_time() - own
                pipe.send(True)
                served, before = pipe.recv(), served
                if turn:  # the first one warms up
                    rates[name].append(rate)
                    work[name].append(own + served - before)
        pipe.send(False)
        server.join()
        shards = list(dataset.glob("data/*"))
        size_mb = sum(path.stat().st_size for path in shards) / 1e6
        shutil.rmtree(dataset)
    ratios = [push / put for put, push in zip(rates["put"], rates["push"], strict=True)]
    figures = {
        "shards": len(shards),
        "megabytes": round(size_mb),
        "put_mb_s": round(statistics.median(rates["put"]) / 1e6),
        "push_mb_s": round(statistics.median(rates["push"]) / 1e6),
        "push_of_put": round(statistics.median(ratios), 2),
        "cpu_put_of_push": round(sum(work["put"]) / sum(work["push"]), 2),
        "push_of_put_each": [round(ratio, 2) for ratio in ratios],
    }
    click.echo(
        json.dumps(figures) if as_json else "\n".join(f"{k:18s}{v}" for k, v in figures.items())
    )


if __name__ == "__main__":
    main()
