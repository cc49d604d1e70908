"""The error tree and its exit codes.

L4FError                 1   the run failed
├── UsageError           2   impossible flags, counts, ranges, output folder
│   └── RecipeError      2   unknown or ill-typed recipe keys, all of them at once
├── BelowScore           3   a score is below what was asked for
├── InputRefused         4   a file from outside is not what it must be
│   ├── CheckpointRefused
│   └── AnnotationRefused
├── NetworkError         5   download or hub
└── Interrupted        130   stopped by the user; state is kept (143 on SIGTERM)
"""

from typing import ClassVar


class L4FError(Exception):
    """Base of every expected failure: one line with subject, problem and remedy."""

    exit_code: ClassVar[int] = 1

    def __init__(self, subject: str, problem: str, remedy: str) -> None:
        line = f"{subject}: {problem}; {remedy}"
        super().__init__(" ".join(line.split()))
        self.subject, self.problem, self.remedy = subject, problem, remedy

    def __reduce__(self) -> tuple[type["L4FError"], tuple[str, str, str]]:
        """Pickle, so that a worker process can pass its error to the main process."""
        return type(self), (self.subject, self.problem, self.remedy)


class UsageError(L4FError):
    """Flags, counts or folders that cannot work (exit 2)."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe with unknown, ill-typed or contradictory values (exit 2)."""


class BelowScore(L4FError):
    """The measured score is below the asked one (exit 3)."""

    exit_code = 3


class InputRefused(L4FError):
    """A file from outside was refused (exit 4)."""

    exit_code = 4


class CheckpointRefused(InputRefused):
    """A generator, discriminator or alpha checkpoint was refused (exit 4)."""


class AnnotationRefused(InputRefused):
    """An annotation file or mask image was refused (exit 4)."""


class NetworkError(L4FError):
    """A download or a hub call failed (exit 5)."""

    exit_code = 5


class Interrupted(L4FError):
    """Stopped by the user; everything finished is kept (exit 130)."""

    exit_code = 130
