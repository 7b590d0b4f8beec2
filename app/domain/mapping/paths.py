"""Paths, which name the location of a value in an event.

    path  = step { "." name | "[" index "]" | '["' quoted '"]' }      step = name | '["' quoted '"]'
    name  = one or more of A-Z a-z 0-9 _ -        quoted = anything but '"', '\\' and control characters

`a.b[0].c` and `["utm source"].medium` are paths. There are no wildcards, filters, functions or parents.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

MAX_PATH_LENGTH: Final = 256
MAX_STEPS: Final = 16

_STEP: Final = re.compile(
    r"""(?: (?P<dot>\.)? (?P<name>[A-Za-z0-9_-]{1,128})
          | \[ (?P<index>0|[1-9][0-9]{0,3}) \]
          | \[" (?P<quoted>[^"\\\x00-\x1f\x7f-\x9f]{1,128}) "\] )""",
    re.VERBOSE | re.ASCII,
)

Step = str | int
Getter = Callable[[dict[str, Any]], Any]


class Impassable:
    """The result for a path that leads through a text, number or boolean, or through a wrong container."""

    __slots__ = ()


IMPASSABLE: Final = Impassable()


@lru_cache(maxsize=4096)  # mappings of a thousand destinations have few different paths
def parse_path(text: str) -> tuple[Step, ...] | None:
    """Parse a path into its steps: a str for a name, an int for an index. Return None if it is invalid."""
    if len(text) > MAX_PATH_LENGTH:
        return None
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            return None
        name, index = match["name"], match["index"]
        # A name follows a dot, except at the start of the path.
        if name is not None and (match["dot"] is None) is not (position == 0):
            return None
        if index is not None and position == 0:
            return None
        steps.append(name if name is not None else match["quoted"] if index is None else int(index))
        position = match.end()
    return tuple(steps) if 1 <= len(steps) <= MAX_STEPS else None


def last_name(steps: tuple[Step, ...]) -> str:
    """Return the last name in a path. Return an empty text if the path has only indexes."""
    return next((step for step in reversed(steps) if isinstance(step, str)), "")


@lru_cache(maxsize=4096)
def getter(steps: tuple[Step, ...]) -> Getter:
    """Compile a path to a function that returns its value in an event.

    The function returns None if the value is absent or null, and `IMPASSABLE` if the event has another
    structure.
    """
    match steps:
        case (str(a),):
            return lambda event: event.get(a)
        case (str(a), str(b)):
            return _two(a, b)
        case (str(a), str(b), str(c)):
            return _three(a, b, c)
        case _:
            return lambda event: _walk(event, steps)


def _two(a: str, b: str) -> Getter:
    def get(event: dict[str, Any]) -> Any:
        first = event.get(a)
        return first.get(b) if type(first) is dict else _walk(first, (b,))

    return get


def _three(a: str, b: str, c: str) -> Getter:
    def get(event: dict[str, Any]) -> Any:
        first = event.get(a)
        if type(first) is dict:
            second = first.get(b)
            return second.get(c) if type(second) is dict else _walk(second, (c,))
        return _walk(first, (b, c))

    return get


def _walk(value: Any, steps: tuple[Step, ...]) -> Any:
    for step in steps:
        if value is None or value == "":
            return None
        if type(value) is dict and isinstance(step, str):
            value = value.get(step)
        elif type(value) is list and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            return IMPASSABLE
    return value
