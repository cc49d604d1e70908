"""Licences that weights come with, as a dataset card needs them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """The licence that weights came with.

    Attributes:
        name: short name, as a dataset card needs it.
        link: where its text is.
        commercial: whether it allows commercial use.
    """

    name: str
    link: str
    commercial: bool


# Research and evaluation only, for the weights and what derives from them (section 3.3 of both).
NVIDIA_STYLEGAN2 = Licence(
    "nvidia-source-code-license-nc", "https://nvlabs.github.io/stylegan2/license.html", False
)
NVIDIA_ADA = Licence(
    "nvidia-source-code-license",
    "https://nvlabs.github.io/stylegan2-ada-pytorch/license.html",
    False,
)
