"""The command line. Errors become one line and an exit code here, and only here."""

import errno
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from inspect import cleandoc
from types import FrameType
from typing import Any

import click

from l4f_datagen.cli.datasets import card, merge, push, refine, report, verify
from l4f_datagen.cli.inspect import convert, doctor, inspect, recipes
from l4f_datagen.cli.make import make, quickstart
from l4f_datagen.cli.options import option
from l4f_datagen.cli.scores import benchmark, sample, validate
from l4f_datagen.cli.segmenter import segmenter
from l4f_datagen.cli.train import pretrain, train
from l4f_datagen.core.errors import L4FError
from l4f_datagen.core.logs import show_logs
from l4f_datagen.io.disk import FULL

FIRST_SPEAKS_SECONDS = 30.0  # to print the error that all processes of torchrun meet


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems send before they kill; handled wherever Ctrl-C is."""


class ErrorGroup(click.Group):
    """Group that turns our errors, a full disk, Ctrl-C and SIGTERM into a line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        show_logs()
        try:
            return super().invoke(ctx)
        except L4FError as error:
            line, code = str(error), error.exit_code
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            asked = error.ctx.command_path if error.ctx else ctx.command_path
            line = f"{' '.join(error.format_message().split()).rstrip('.')}; see {asked} --help"
            code = error.exit_code
        except KeyboardInterrupt as stop:
            said, code = (
                ("terminated", 143) if isinstance(stop, Terminated) else ("interrupted", 130)
            )
            line = f"{said}; finished work is kept, the same command resumes"
        except OSError as error:
            where = error.filename or "output folder"
            remedy = "make room, then run the same command again: it resumes"
            line, code = f"{where}: cannot be written ({error.strerror}); {remedy}", 1
            if error.errno == errno.ENAMETOOLONG:
                line, code = f"{where}: the file name is too long; give a shorter one", 2
            elif error.errno not in (*FULL, errno.EROFS):
                raise
        rank = os.environ.get("RANK", "0")
        trains_with_others = os.environ.get("WORLD_SIZE", "1") != "1" and rank != "0"
        if trains_with_others and code not in (3, 130, 143):
            time.sleep(FIRST_SPEAKS_SECONDS)  # torchrun stops this process once the first has ended
            line = f"process {rank}: {line}"
        with suppress(OSError, ValueError):  # a closed standard error changes no exit code
            click.echo(f"Error: {line}", err=True)
        sys.exit(code)


def _set_level(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        show_logs(logging.DEBUG if parameter.name == "verbose" else logging.WARNING)


LEVELS = (
    option("-v --verbose", bool, "Show more messages, with time and source.",
           expose_value=False, callback=_set_level),
    option("-q --quiet", bool, "Show only warnings and errors, and no progress.",
           expose_value=False, callback=_set_level),
)  # fmt: skip


def finish(command: click.Command, prefix: str) -> None:
    """Add ``-h``, ``-v``, ``-q`` and variables such as L4F_MAKE_N to a command and those below it.

    Click would name variables after the parameters of functions, which users do not know.
    """
    if command.help:  # Click would join lines of examples, but for this character before them
        command.help = cleandoc(command.help).replace("\n\nl4f-d", "\n\n\b\nl4f-d")
    command.context_settings["help_option_names"] = ["-h", "--help"]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            finish(inner, f"{prefix}_{name}")
        return
    for level in LEVELS:
        level(command)
    for param in command.params:
        flags = [flag[2:] for flag in param.opts if flag.startswith("--")]
        if flags:
            param.envvar = [f"{prefix}_{flag}".upper().replace("-", "_") for flag in flags]


@click.group(cls=ErrorGroup, context_settings={"max_content_width": 100})
@click.version_option(package_name="l4f-datagen", prog_name="l4f-datagen")
def cli() -> None:
    """Turn a pretrained StyleGAN2 into a labelled segmentation dataset, without human labels.

    l4f-datagen quickstart                                     # a small dataset, in a minute
    l4f-datagen make --domain toy-cars --n 5000 --out cars     # the main job

    Every option can be given as a variable: L4F_MAKE_N=5000 for --n of make. Shell completion:
    eval "$(_L4F_DATAGEN_COMPLETE=bash_source l4f-datagen)", or zsh_source, fish_source.

    Exit codes: 0 done, 1 failed, 2 usage or recipe, 3 below the asked score, 4 input refused,
    5 network or hub, 130 interrupted, 143 terminated (run the same command again to resume).
    """


MAKING = (quickstart, make, merge, pretrain, train, sample, validate, recipes, convert)
LOOKING = (inspect, report, refine, verify, doctor, segmenter, push, card, benchmark)
for command in (*MAKING, *LOOKING):
    cli.add_command(command)
finish(cli, "L4F")


def main() -> None:
    """Entry point of ``l4f-datagen``."""
    signal.signal(signal.SIGTERM, _terminate)
    for number in (0, 1, 2):  # a closed stream's number would be the next opened file's
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
    cli(prog_name="l4f-datagen")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
