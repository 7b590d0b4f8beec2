"""The shapes of events of well-known tools, and what happened by the names of their events.

The facts are from the public documentation of each tool, see docs/suggestions.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.domain.suggestions.names import joined
from app.domain.suggestions.words import SHAPE_ROWS, key_by_word


@dataclass(frozen=True, slots=True)
class EventShape:
    """A tool whose events are recognised by their shape: one of `marks` is a set of names that all occur.

    `event_type` and `event_source` are those of all its events, where the tool has only one.
    """

    name: str
    marks: tuple[frozenset[str], ...]
    event_type: str = ""
    event_source: str = ""


SHAPES: Final = tuple(
    EventShape(**{**row, "marks": tuple(frozenset(mark.split()) for mark in row["marks"])})
    for row in SHAPE_ROWS
)
_TYPES_AS_WRITTEN: Final = key_by_word("event_types")
EVENT_NAMES: Final = tuple(_TYPES_AS_WRITTEN)


_TYPES: Final = {joined(name): event_type for name, event_type in _TYPES_AS_WRITTEN.items()}


def event_type_of(name: str) -> str | None:
    """Return the event type of events with this name, None if the name is in no list."""
    return _TYPES.get(joined(name))


def spellings(name: str) -> tuple[str, ...]:
    """Return the usual spellings of an event name, such as `Order Completed` and `orderCompleted`."""
    words = [part.split("_") for part in name.split(".")]

    def written(joint: str, first: Callable[[str], str], rest: Callable[[str], str]) -> str:
        parts = (joint.join([first(part[0]), *map(rest, part[1:])]) for part in words)
        return ".".join(parts)

    ways = ((str.lower, str.lower), (str.title, str.title), (str.title, str.lower), (str.upper, str.upper))
    return tuple(
        dict.fromkeys(
            [written(joint, *way) for joint in "_ -" for way in ways]
            + [written("", first, str.title) for first in (str.lower, str.title)]
        )
    )
