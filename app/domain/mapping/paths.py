"""Paths, which name the location of a value in an event.

    path  = step { "." name | "[" index "]" | "[*]" | "[-1]" | '["' quoted '"]' }
    step  = name | '["' quoted '"]'
    name  = one or more of A-Z a-z 0-9 _ -        quoted = anything but '"', '\\' and control characters

`a.b[0].c` and `["utm source"].medium` are paths. `[*]` stands for each member of a list, at most twice in a
path, and `[-1]` for the last one. There are no filters, functions or parents.
"""

import re
from functools import lru_cache
from typing import Any, Final

from app.domain.mapping.reading import OVER_BUDGET, UNCLEAR, Invented, Reading, SourceFailed

MAX_PATH_LENGTH: Final = 256
MAX_STEPS: Final = 16
MAX_EACH: Final = 2

_STEP: Final = re.compile(
    r"""(?: (?P<dot>\.)? (?P<name>[A-Za-z0-9_-]+)
          | \[ (?P<index>0|[1-9][0-9]{0,3}|-1|\*) \]
          | \[" (?P<quoted>[^"\\\x00-\x1f\x7f-\x9f]+) "\] )""",
    re.VERBOSE | re.ASCII,
)


class Each:
    """The step `[*]`: each member of a list."""

    __slots__ = ()


EACH: Final = Each()

Step = str | int | Each
Path = tuple[Step, ...]


NO_PATH: Final = 'A path is names and indexes such as a.b[0].c, a.list[*].b or ["utm source"].x.'
UNREACHABLE: Final = SourceFailed(
    "wrong_type", "cannot be read: the path goes through a value without members"
)
"""The result for a path that leads through a text, number or boolean, or through a wrong container."""


@lru_cache(maxsize=4096)  # mappings of a thousand destinations have few different paths
def parse_path(text: str) -> Path | None:
    """Parse a path: a str for a name, an int for an index, or `EACH`. Return None if it is invalid."""
    parsed = _parse(text)
    return None if isinstance(parsed, str) else parsed


def path_problem(text: Any) -> str:
    """Return why a value is no path, as a sentence. Return an empty text if it is one."""
    parsed = _parse(text) if isinstance(text, str) else NO_PATH
    return parsed if isinstance(parsed, str) else ""


def _parse(text: str) -> Path | str:
    if len(text) > MAX_PATH_LENGTH:
        return f"A path has at most {MAX_PATH_LENGTH} characters."
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            return NO_PATH
        name, index = match["name"], match["index"]
        # A name follows a dot, except at the start of the path.
        if name is not None and (match["dot"] is None) is not (position == 0):
            return NO_PATH
        if index is not None and position == 0:
            return NO_PATH
        if index is not None:
            steps.append(EACH if index == "*" else int(index))
        else:
            steps.append(match["quoted"] if name is None else name)
        position = match.end()
    if len(steps) > MAX_STEPS:
        return f"A path has at most {MAX_STEPS} steps."
    if steps.count(EACH) > MAX_EACH:
        return f"A path has at most {MAX_EACH} [*]."
    return tuple(steps) or NO_PATH


def last_name(steps: Path) -> str:
    """Return the last name in a path. Return an empty text if the path has only indexes."""
    return next((step for step in reversed(steps) if isinstance(step, str)), "")


def walk(value: Any, steps: Path) -> Any:
    """Return the value at a path without `EACH`, None if it is absent, or `UNREACHABLE`.

    Below an `Invented` text anything may be: the result is that text.
    """
    for step in steps:
        if type(value) is dict and isinstance(step, str):
            value = value.get(step)
        elif value is None or value == "":
            return None
        elif type(value) is list and isinstance(step, int):
            value = value[step] if step < len(value) and value else None
        else:
            return value if isinstance(value, Invented) else UNREACHABLE
    return value


def collect(value: Any, steps: Path, reading: Reading) -> Any:
    """Return the list of values at a path with `EACH`, in order, or `SourceFailed`.

    A member in which the rest of the path is absent, null or blank gives nothing. An object counts as a list
    of one. If the value before the first `EACH` is absent or null, the result is None.
    """
    found: list[Any] = []
    place = steps.index(EACH)
    start = walk(value, steps[:place])
    if start is None or start == "":
        return None
    failed = _gather(start, steps, place, found, reading)
    return reading.derived(found) if failed is None else failed


def _gather(value: Any, steps: Path, place: int, found: list[Any], reading: Reading) -> SourceFailed | None:
    """Append the values at the steps from `place` on, of which the first is `EACH`."""
    members = [value] if type(value) is dict else value
    if type(members) is not list:
        return UNCLEAR if isinstance(members, Invented) else UNREACHABLE
    if not reading.charge_list(members):
        return OVER_BUDGET
    further = next((index for index in range(place + 1, len(steps)) if steps[index] is EACH), None)
    rest = steps[place + 1 : further]
    for member in members:
        value = walk(member, rest)
        if type(value) is SourceFailed:
            return value
        if is_empty(value):
            continue
        if further is None:
            found.append(value)
        elif failed := _gather(value, steps, further, found, reading):
            return failed
    return None


def is_empty(value: Any) -> bool:
    """Return whether a value counts as absent: null, or a blank text."""
    return value is None or (type(value) is str and (not value or value.isspace()))
