"""Options of `make` that say who renders what, and where."""

from typing import Any

import click

from l4f_datagen.cli.source import Command
from l4f_datagen.core.errors import UsageError


def engine_options(command: Command) -> Command:
    """Add the options of engines, devices and shares."""
    options = [
        click.option("--devices", help="Several devices of one kind: cuda:0,cuda:1."),
        click.option(
            "--workers", type=click.IntRange(1, 256), help="Number of CPU threads that render."
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="ray: render shards as tasks of a Ray cluster.",
        ),
        click.option("--ray-address", help="Address of the cluster; default: start one here."),
        click.option(
            "--shard", metavar="I/N", help="Render every N-th shard from shard I (0 to N-1) on."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def engine_keys(given: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of the given ones, as keyword arguments of a ``Job``.

    Raises:
        UsageError: options that exclude each other, or no such share.
    """
    from l4f_datagen.rendering.quota import parse_share

    names = ("devices", "workers", "engine", "ray_address", "shard")
    devices, workers, engine, address, shard = (given.pop(name) for name in names)
    if address is not None and engine != "ray":
        raise UsageError("--ray-address", "given without --engine ray", "add --engine ray")
    if devices is not None and engine == "ray":
        raise UsageError("--devices", "given with --engine ray", "a cluster knows its own GPUs")
    return {
        "devices": tuple(devices.split(",")) if devices else (),
        "workers": workers,
        "engine": engine,
        "ray_address": address,
        "share": None if shard is None else parse_share(shard),
    }
