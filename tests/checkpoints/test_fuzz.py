"""Mutated checkpoints of every format: refused or opened, and nothing else.

Run as ``python test_fuzz.py 20000 0`` (count and seed) in an empty folder it prints a JSON summary.
Each input is a small valid file with a few mutations; opening it may succeed or be refused, and
nothing else: no other exception, no more than 1 GB, no more than 5 s of processor time, no file
written.
"""

import collections
import json
import random
import resource
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from l4f_datagen.checkpoints.native import save_alpha, save_discriminator
from l4f_datagen.checkpoints.open import open_alpha, open_checkpoint, open_discriminator
from l4f_datagen.core.errors import L4FError

MEMORY = 1 << 30
SECONDS = 5
NUMBERS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, (1 << 31) - 1, (1 << 32) - 1]
NUMBERS += [1 << 40, (1 << 63) - 1, (1 << 64) - 1]
# Pieces that mean something to one of the readers.
PIECES = [
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"\x8c\x02os\x8c\x06system\x93"),
    b"(X\x0e\x00\x00\x00echo > PWNED\x20\x20tR",
    *(b"r\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8, b"\x8d" + b"\xff" * 8, b"\x95" + b"\xff" * 8),
    *(b"h\x00", b"R", b"b", b"u", b"\x93", b".", b"}", b"(", b"-1", b"]" * 50),
    *(b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07", b'"shape":[1e9]', b"\x7f\xc0\x00\x00"),
]


class TooLong(BaseException):
    """Raised by the timer; no handler for ordinary errors may swallow it."""


def corpus(folder: Path) -> dict[str, bytes]:
    """Small valid files of all formats."""
    make = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("foreign.py"))))
    generator = make.make_generator(
        channels={4: 2, 8: 2, 16: 2}, z_dim=2, w_dim=2, mapping_layers=2
    )
    alpha = make.make_alpha(sides=(8, 16, 32))
    paths = {
        **make.every_format(folder, generator),
        "native discriminator": folder / "discriminator",
        "native alpha": folder / "alpha",
        "labels4free": folder / "labels4free",
        "nvlabs-tensorflow 2": folder / "old pickle",
    }
    save_discriminator(paths["native discriminator"], make.make_discriminator())
    save_alpha(paths["native alpha"], alpha, generator_fingerprint=None)
    make.write_torch(paths["labels4free"], make.labels4free_snapshot(alpha, lists=True))
    snapshot = make.tf_snapshot(generator, make.make_discriminator())
    make.write_pickle(paths["nvlabs-tensorflow 2"], snapshot, protocol=2)
    return {name: path.read_bytes() for name, path in paths.items()}


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return ``data`` with one to four mutations."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not out:
            break
        where = rng.random()
        # Headers and directories are at the ends; tensors, where little can break, in between.
        reach = len(out) if where < 0.4 else min(len(out), 4096)
        at = rng.randrange(reach)
        at = len(out) - 1 - at if where > 0.7 else at
        kind = rng.randrange(9)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.randrange(256)
        elif kind == 2:
            del out[at : at + rng.choice([1, 2, 8, 100, 5000])]
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            piece = rng.choice(PIECES)
            out[at : at + len(piece)] = piece
        elif kind == 5:
            out[at:at] = rng.choice(PIECES)
        elif kind == 6:
            width = rng.choice([1, 2, 4, 8])
            number = rng.choice(NUMBERS) % (1 << (8 * width))
            out[at : at + width] = number.to_bytes(width, "little")
        elif kind == 7:
            length = rng.choice([4, 50, 1000])
            out[at:at] = out[at : at + length]
        else:
            other = rng.choice(others)
            start, length = rng.randrange(len(other)), rng.choice([8, 200, 4000])
            out[at : at + length] = other[start : start + length]
    return bytes(out)


def main() -> None:
    count, seed = map(int, sys.argv[1:])

    def too_long(_signal: int, _frame: object) -> None:
        raise TooLong

    signal.signal(signal.SIGVTALRM, too_long)
    tally: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        files = corpus(Path(name))
        path = Path(name) / "input"
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        openers = (open_checkpoint, open_checkpoint, open_alpha, open_discriminator)
        for k in range(count):
            rng = random.Random(f"{seed} {k}")
            kind = list(files)[k % len(files)]
            path.write_bytes(mutate(files[kind], list(files.values()), rng))
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                rng.choice(openers)(path)
                tally[f"{kind}: opened"] += 1
            except L4FError:
                tally[f"{kind}: refused"] += 1
            except BaseException as error:
                failures.append(f"{kind}, input {k}: {error!r}"[:500])
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(json.dumps({"tally": dict(tally), "failures": failures}))


@pytest.mark.parametrize(
    ("count", "seed"),
    [(100, 0), pytest.param(20_070, 1, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])],
)
def test_mutated_files_are_refused_or_opened(count, seed, tmp_path, run_alone):
    (summary,) = run_alone(__file__, [count, seed], tmp_path)
    assert summary["failures"] == []
    assert sum(summary["tally"].values()) == count
    refused = {kind for kind in summary["tally"] if kind.endswith("refused")}
    assert len(refused) == 10, "every format was mutated"


if __name__ == "__main__":
    main()
