import pytest

from l4f_datagen.training.loop import AlphaTrainer
from l4f_datagen.training.sources import SourceContext, open_sources


@pytest.fixture(autouse=True)
def messages(caplog):
    """All of them, whatever the level of the process."""
    caplog.set_level("INFO")


@pytest.fixture
def make_trainer():
    """A trainer of a recipe part, from its first step or from a state."""

    def make(part, generator, state=None):
        trainer = AlphaTrainer(part, generator, open_sources(SourceContext(part, generator)))
        if state is not None:
            trainer.state = state
        return trainer

    return make
