"""The weights that ship: small, whole, of one family, and documented."""

import pytest

from l4f_datagen.checkpoints.open import open_alpha, open_discriminator, open_generator
from l4f_datagen.recipe.domains import BUILTIN, BUILTIN_PX

MAX_MB = 5.0


@pytest.fixture(params=sorted(BUILTIN))
def builtin(request):
    return BUILTIN[request.param]


def test_all_three_open_and_belong_together(builtin):
    generator = open_generator(builtin / "generator.safetensors")
    assert generator.spec.resolution == BUILTIN_PX
    assert generator.has_w_avg
    assert generator.has_noise
    alpha = open_alpha(builtin / "alpha.safetensors")
    assert alpha.generator_fingerprint == generator.fingerprint
    discriminator = open_discriminator(builtin / "discriminator.safetensors")
    assert discriminator.resolution == BUILTIN_PX


def test_they_are_small_and_say_how_they_were_made(builtin):
    size = sum(path.stat().st_size for path in builtin.glob("*.safetensors"))
    assert 0 < size < MAX_MB * 1e6
    words = (builtin / "README.md").read_text()
    for fact in ("l4f-datagen pretrain", "release --run", "kimg", "minutes", "seed"):
        assert fact in words
    licence = open_generator(builtin / "generator.safetensors").licence
    assert licence.name in ("apache-2.0", "cc0-1.0", "cc-by-4.0")
    assert bool(licence.attribution) == (licence.name == "cc-by-4.0")
