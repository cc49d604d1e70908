"""Reads pickles without Python's unpickler: builds plain data, runs nothing, copies no weights.

Why not ``pickle.Unpickler`` with an allow-list in ``find_class``, or ``torch.load``:

- **Memory.** Nine bytes (a memo index of 2**28) make the C unpickler take 4 GiB, before
  ``find_class`` is asked anything; the Python one takes what a bytearray announces. Here every
  length is compared with the bytes that are left in the file first, and operations, text and
  integers are counted against a budget that a file shares with the pickles nested in it.
- **Time.** 20,000 integers with one hash value as keys keep both of Python's unpicklers busy for
  about ten seconds. Here keys are text or small numbers.
- **Weights.** NVIDIA's files hold every tensor three times (G, D and G_ema) as byte strings inside
  the pickle. Python's unpicklers copy all of them. Here a byte string is a span of the file
  (``source.Span``), and only the tensors of the network that is asked for are read: the peak is
  the size of that network.
- **Foreign classes.** ``torch.load(weights_only=True)`` neither opens NVIDIA's pickles nor whole
  modules (``torch.save(G)``), and torch files nested in a pickle need the same restricted reader.

Nothing is imported and nothing is called but the stand-ins of the caller's table
(``checkpoints.stand_ins``), which build records and descriptions of tensors. Any other global is
refused by its name, and no option changes that.
"""

from collections.abc import Callable

from l4f_datagen.checkpoints.pickle_machine.machine import Budget, Globals, Machine
from l4f_datagen.checkpoints.pickle_machine.operations import run
from l4f_datagen.checkpoints.pickle_machine.source import Cursor


def load_pickle(
    cursor: Cursor,
    find: Globals,
    budget: Budget,
    persistent: Callable[[object], object] | None = None,
) -> object:
    """Return the object of the pickle at the cursor, which is left behind it.

    Args:
        cursor: where the pickle starts.
        find: module and name of a global -> its stand-in or value, None where it is refused.
        budget: what the file may still cost.
        persistent: answers persistent ids (torch's storages); None refuses them.

    Raises:
        CheckpointRefused: damaged, too large for its budget, or naming a global outside the table.
    """
    return run(Machine(cursor, find, budget, persistent))
