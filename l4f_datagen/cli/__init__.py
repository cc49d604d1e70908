"""The command line: a thin door. Errors become one line and an exit code here, once."""

import errno
import os
import sys
import time
from typing import Any

import click

from l4f_datagen.cli.benchmark import benchmark
from l4f_datagen.cli.card import card
from l4f_datagen.cli.checkpoints import convert
from l4f_datagen.cli.doctor import doctor
from l4f_datagen.cli.inspect import inspect
from l4f_datagen.cli.make import make
from l4f_datagen.cli.merge import merge
from l4f_datagen.cli.push import push
from l4f_datagen.cli.recipes import recipes
from l4f_datagen.cli.report import report
from l4f_datagen.cli.sample import sample
from l4f_datagen.cli.segmenter import segmenter
from l4f_datagen.cli.train import train
from l4f_datagen.cli.validate import validate
from l4f_datagen.errors import L4FError

FIRST_SPEAKS_SECONDS = 30.0
"""Under torchrun all processes meet the same error; the first has so long to tell it for all."""


class Door(click.Group):
    """Group that turns our errors, a full disk and Ctrl-C into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except L4FError as error:
            line, code = str(error), error.exit_code
        except KeyboardInterrupt:
            line, code = "interrupted; what is finished is kept, the same command resumes", 130
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            where = error.filename or "output folder"
            remedy = "make room, then run the same command again: it resumes"
            line, code = f"{where}: cannot be written ({error.strerror}); {remedy}", 1
        rank = os.environ.get("RANK", "0")
        trains_with_others = os.environ.get("WORLD_SIZE", "1") != "1" and rank != "0"
        if trains_with_others and code not in (3, 130):
            time.sleep(FIRST_SPEAKS_SECONDS)  # torchrun stops this process once the first has ended
            line = f"process {rank}: {line}"
        click.echo(f"Error: {line}", err=True)
        sys.exit(code)


@click.group(cls=Door, context_settings={"auto_envvar_prefix": "L4F", "max_content_width": 100})
@click.version_option(package_name="l4f-datagen", prog_name="l4f-datagen")
def cli() -> None:
    """Turn a pretrained StyleGAN2 into a labelled segmentation dataset, with no human label.

    Exit codes: 0 done, 1 failed, 2 usage or recipe, 3 below the asked score, 4 input refused,
    5 network or hub, 130 interrupted (run the same command again to resume).
    """


for command in (
    make,
    merge,
    train,
    sample,
    validate,
    recipes,
    convert,
    inspect,
    report,
    doctor,
    segmenter,
    push,
    card,
    benchmark,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of ``l4f-datagen``."""
    cli(prog_name="l4f-datagen")
