"""What a swarm would do next. Pure: no I/O, no clock, no randomness.

The engine is a function: (item, entries so far) → the next calls, or the output. Drivers own everything else.
``REVISION`` changes whenever the engine would ask or say something else for the same item and entries; a proof names it,
and a node replays only the revision it ships.
"""

REVISION = 4
