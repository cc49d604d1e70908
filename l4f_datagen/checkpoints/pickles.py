"""A restricted unpickler that builds data and calls nothing but the stand-ins of its table.

It is a small machine of its own and not a subclass of ``pickle.Unpickler``: it keeps byte strings
as spans of the file instead of copying them, so that only wanted tensors are ever read, and it is
bounded where the standard one takes the memory that a few bytes ask for. A global that is not in
the table is refused by its name; nothing switches that off.
"""

import struct
from collections.abc import Callable

from l4f_datagen.core.errors import CheckpointRefused

from .cursor import Cursor
from .machine import Allowed, Budget, Machine
from .opcodes import OPERATIONS, STOP


def load_pickle(
    cursor: Cursor,
    allowed: Allowed,
    budget: Budget,
    persistent: Callable[[object], object] | None = None,
) -> object:
    """Return the object of the pickle at the cursor, which is left behind it.

    Args:
        cursor: where the pickle starts.
        allowed: (module, name) -> stand-in, or a plain value.
        budget: what the file may still cost.
        persistent: answers persistent ids (torch's storages); None refuses them.

    Raises:
        CheckpointRefused: damaged, unbounded, or asking for a global outside the table.
    """
    machine = Machine(cursor, allowed, budget, persistent)
    try:
        while True:
            budget.spend()
            code = cursor.take(1)[0]
            if code == STOP:
                return machine.stack.pop()
            operation = OPERATIONS.get(code)
            if operation is None:
                raise ValueError(f"unknown operation {code:#x}")
            operation(machine)
    except CheckpointRefused:
        raise
    except KeyError:
        problem = "something is used that was never stored"
    except (IndexError, ValueError, TypeError, OverflowError, struct.error) as error:
        problem = str(error)
    raise cursor.source.refuse(f"is no valid pickle near byte {cursor.position} ({problem})")
