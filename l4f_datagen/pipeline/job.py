"""Engines: who renders which shard. Every one of them makes the same bytes.

An engine is opened once a run and gives a function that makes one shard and returns its marker;
shards are asked for in the order of the plan, those finished by an earlier run left out.
"""

from collections.abc import Callable

from l4f_datagen.core.progress import Progress
from l4f_datagen.dataset.manifest import Marker

MakeShard = Callable[[int, Progress], Marker]
"""Makes the shard of this number, up to the count that is still wanted."""
