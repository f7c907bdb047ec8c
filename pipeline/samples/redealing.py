"""Where a run goes on when another number of processes takes it up.

In: `TrainBatch.resume` of every rank after the same step. Out: the position from which one of the new ranks goes
on. Guarantees: what no rank had taken of an epoch is dealt anew, in its order, so that over both parts of the run
every image of the epoch is still drawn; images that any rank set aside stay set aside. The rings of cached views
start empty: they were those of ranks that are no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from storage.errors import StoreError


def redeal(positions: Sequence[Mapping[str, Any]], *, rank: int, world: int) -> dict[str, Any]:
    """Return the position of `rank` of `world` new ranks; `positions` are those of all old ones, by rank.

    Raises StoreError when they are not the positions of one run after one step.
    """
    first = positions[0]
    for number, position in enumerate(positions):
        expected = {"version": first["version"], "seed": first["seed"], "step": first["step"]}
        expected |= {"rank": number, "world": len(positions)}
        for name, value in expected.items():
            if position[name] != value:
                raise StoreError(
                    f"cannot resume: expected {name} {value} of rank {number}, got {position[name]} from the "
                    "checkpoint; resume from an older one"
                )
    parts = {part: [position[part] for position in positions] for part in ("labeled", "unlabeled")}
    return {
        **first,
        **{part: None if entries[0] is None else _redeal_part(entries) for part, entries in parts.items()},
        "rank": rank,
        "world": world,
    }


def _redeal_part(positions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the position in one data set: that of the rank furthest behind knows of every unfinished epoch."""
    behind = min(positions, key=lambda position: position["epoch"])
    stop = [[position["epoch"], position["offset"]] for position in positions]
    return {
        **behind,
        "offset": 0,
        "left_out": sorted(set().union(*(position["left_out"] for position in positions))),
        "stops": [*behind["stops"], stop],
        **({"refill": []} if "refill" in behind else {}),
    }
