"""One of two processes of a joint training; started by ``test_steps.py``."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import conftest

from l4f_datagen.training.hardware import join_ranks
from l4f_datagen.training.loop import AlphaTrainer
from l4f_datagen.training.sources import SourceContext, open_sources


def main(out: Path) -> None:
    make = {name: getattr(conftest, name).__wrapped__() for name in ("make_generator", "make_part")}
    values = {"balance": "auto", "area_weight": 0.1, "ema_steps": 3.0}
    part = make["make_part"](steps=3, batch=8, **values)
    generator = make["make_generator"]()
    ranks = join_ranks(torch.device("cpu"))
    trainer = AlphaTrainer(
        part, generator, open_sources(SourceContext(part, generator)), ranks=ranks
    )
    trainer.run()
    torch.save(trainer.state.alpha.state_dict(), out / f"rank-{ranks.own}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
