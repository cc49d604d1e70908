import pytest
import torch

from l4f_datagen.training.loop import AlphaTrainer
from l4f_datagen.training.sources import SourceContext, open_sources


@pytest.fixture(autouse=True)
def messages(caplog):
    """All of them, whatever the level of the process."""
    caplog.set_level("INFO")


@pytest.fixture
def trainer_of(make_generator, make_part):
    """A trainer of a recipe part, or of the values of one."""

    def make(generator=None, part=None, **values):
        part, generator = part or make_part(**values), generator or make_generator()
        return AlphaTrainer(part, generator, open_sources(SourceContext(part, generator)))

    return make


@pytest.fixture
def everything():
    """All values of a training with a state dict, optimisers and scalers too, as they are now."""

    def of(state):
        found = {"balance": state.balance, "recent": state.recent, "failures": state.failures}
        for name, holder in state.stored().items():
            values = holder.state_dict()
            if name.endswith("optim"):
                slots = values["state"].items()
                values = {(k, slot): value for k, one in slots for slot, value in one.items()}
            found |= {(name, key): copied(value) for key, value in values.items()}
        return found

    def copied(value):
        return value.tolist() if isinstance(value, torch.Tensor) else value

    return of
