"""Weights that can be fetched: where they are, what they must be, and under which licence.

Hashes of the StyleGAN2 files agree in two independent places and are pinned: another file is
refused. Those of the ADA files were reported by one mirror only: another file is used, with a
warning. Where there is no hash, none is known.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar

from pydantic import ConfigDict


@dataclass(frozen=True)
class Licence:
    """The terms weights come under; a key of recipes, carried into manifest and card."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str = "unknown"
    link: str | None = None
    commercial: bool | None = None
    attribution: str | None = None

    @property
    def facts(self) -> dict[str, str | bool | None]:
        """What files store; without attribution as in version 0.1, so that hashes stay."""
        return {k: v for k, v in asdict(self).items() if k != "attribution" or v is not None}


# Research and evaluation only, for the weights and what derives from them (section 3.3 of both).
NVIDIA_STYLEGAN2 = Licence(
    "nvidia-source-code-license-nc", "https://nvlabs.github.io/stylegan2/license.html", False
)
NVIDIA_ADA = Licence(
    "nvidia-source-code-license",
    "https://nvlabs.github.io/stylegan2-ada-pytorch/license.html",
    False,
)

STYLEGAN2_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/"
ADA_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"


@dataclass(frozen=True)
class Weights:
    """One file to fetch: a network whose square image has ``resolution`` px."""

    url: str
    resolution: int
    licence: Licence
    size: int | None = None
    sha256: str | None = None
    pinned: bool = False  # a file with another hash is refused rather than warned about
    classes: int = 0

    @property
    def filename(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


_STYLEGAN2 = {  # domain: resolution, bytes and SHA-256
    "ffhq": (1024, 381673535, "adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d"),
    "car": (512, 364027523, "e1618eee2b3ce87c4a3849442f7850ef12a478556bff035c8e09ee7e23b3794c"),
    "cat": (256, 357418027, "08940fd616cfaf6bc7b0286b5d1a0b3f70febb26e136d64716c8d3f5e9bd3883"),
    "horse": (256, 357418027, "cbc73372c7d82d095913ca8b4b9f170560777175bd7c3b8a75dd55d70807f32b"),
    "church": (256, 357418027, "4090c5f83b44b83475c84864188aa39a0fb72694492302b7e6af36aad0d18104"),
}
_ADA: dict[str, tuple[int, str | None, int]] = {  # domain: resolution, SHA-256, classes
    "ffhq": (1024, None, 0),
    "metfaces": (1024, "880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f", 0),
    "afhqcat": (512, "17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9", 0),
    "afhqdog": (512, "f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662", 0),
    "afhqwild": (512, None, 0),
    "brecahad": (512, "f9f0c2766187aff4c3424c4a5a67d52c503672f28cf08eab645382523b7a5161", 0),
    "cifar10": (32, "f8952c74e23da2186d147ad871c48780bd59500ee37c301201081ee8e0cb32f1", 10),
}
WEIGHTS = {
    f"stylegan2-{domain}": Weights(
        f"{STYLEGAN2_URL}stylegan2-{domain}-config-f.pkl", px, NVIDIA_STYLEGAN2, size, sha256, True
    )
    for domain, (px, size, sha256) in _STYLEGAN2.items()
} | {
    f"ada-{domain}": Weights(f"{ADA_URL}{domain}.pkl", px, NVIDIA_ADA, None, sha256, False, classes)
    for domain, (px, sha256, classes) in _ADA.items()
}


def weights_by_sha256(sha256: str) -> Weights | None:
    """Return the entry whose file has this hash, None where there is none."""
    return next((item for item in WEIGHTS.values() if item.sha256 == sha256), None)
