"""The command line. Errors become one line and an exit code here, and only here."""

import errno
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from l4f_datagen.cli.datasets import card, merge, push, refine, report
from l4f_datagen.cli.first_steps import doctor, quickstart, recipes, sample
from l4f_datagen.cli.inspect import convert, inspect, verify
from l4f_datagen.cli.make import make
from l4f_datagen.cli.pretrain import pretrain
from l4f_datagen.cli.scores import benchmark, validate
from l4f_datagen.cli.segmenter import segmenter
from l4f_datagen.cli.train import train
from l4f_datagen.core.errors import L4FError
from l4f_datagen.core.logs import show_logs
from l4f_datagen.io.disk import FULL

FIRST_SPEAKS_SECONDS = 30.0
"""Under torchrun all processes meet the same error; the first has so long to print it for all."""


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
        except Terminated:
            line, code = "terminated; finished work is kept, the same command resumes", 143
        except KeyboardInterrupt:
            line, code = "interrupted; finished work is kept, the same command resumes", 130
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


def _set_level(context: click.Context, parameter: click.Parameter, given: bool) -> bool:
    if given:
        show_logs(logging.DEBUG if parameter.name == "verbose" else logging.WARNING)
    return given


def finish(command: click.Command) -> None:
    """Add ``-h``, ``-v`` and ``-q`` to a command and those below it; keep lines of examples."""
    if command.help:  # docstrings are raw, Click wants the character
        command.help = command.help.replace("\\b\n", "\b\n")
    command.context_settings["help_option_names"] = ["-h", "--help"]
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            finish(inner)
        return
    for short, name, words in (
        ("-v", "verbose", "Show more messages, with time and source."),
        ("-q", "quiet", "Show only warnings and errors, and no progress."),
    ):
        flags = [short, f"--{name}"]
        level = click.Option(
            flags, is_flag=True, expose_value=False, callback=_set_level, help=words
        )
        command.params.append(level)


def name_variables(group: click.Group, prefix: str) -> None:
    """Let every flag of the commands be given as a variable: ``make --n`` as ``L4F_MAKE_N``.

    Click names variables after the parameters of functions, which users do not know.
    """
    for name, command in group.commands.items():
        inner = f"{prefix}_{name}"
        for option in command.params:
            if isinstance(option, click.Option):
                flags = [flag[2:] for flag in option.opts if flag.startswith("--")]
                option.envvar = [f"{inner}_{flag}".upper().replace("-", "_") for flag in flags]
        if isinstance(command, click.Group):
            name_variables(command, inner)


@click.group(cls=ErrorGroup, context_settings={"max_content_width": 100})
@click.version_option(package_name="l4f-datagen", prog_name="l4f-datagen")
def cli() -> None:
    r"""Turn a pretrained StyleGAN2 into a labelled segmentation dataset, without human labels.

    \b
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
finish(cli)
name_variables(cli, "L4F")


def main() -> None:
    """Entry point of ``l4f-datagen``."""
    signal.signal(signal.SIGTERM, _terminate)
    _open_closed_streams()
    cli(prog_name="l4f-datagen")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _open_closed_streams() -> None:
    """Point closed standard streams at nothing, or the next file opened would get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
