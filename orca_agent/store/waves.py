"""Splits a batch of writes so that no statement of it meets the same path twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def waves(things: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Return ``things`` in as few lists as it takes for each to hold a key only once; equal keys keep their order.

    Which of two writes at one path came first is then a question of which statement, and each statement's answer is clear.
    """
    made: list[list[T]] = []
    seen: dict[Hashable, int] = {}
    for thing in things:
        place = seen.get(key(thing), 0)
        seen[key(thing)] = place + 1
        if place == len(made):
            made.append([])
        made[place].append(thing)
    return made
