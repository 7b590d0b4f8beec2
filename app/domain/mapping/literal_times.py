"""Find literal times in the source of Event Timestamp. Each event must have its own time (R4)."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from app.domain.conversion.numbers import plain
from app.domain.conversion.timestamps import read_time
from app.domain.mapping.pipes import MadeStep, compile_step
from app.domain.mapping.reading import Reading, SourceFailed, Step
from app.domain.mapping.templates import parse_template

_READERS: Final = ("time", "epoch_s", "epoch_ms")
_ZONE_AT_END: Final = re.compile(r"(?:[Zz]|[+-]\d\d(?::?\d\d)?)\Z", re.ASCII)


def literal_times(written: Any, at: str, outer: Sequence[Any] = ()) -> Iterator[str]:
    """Yield the place of each literal time in a source. `outer` are pipe steps that follow its own."""
    if type(written) is not dict:
        return
    if "const" in written:
        yield at
    if written.get("default") is not None:
        yield f"{at}.default"
    own = written.get("pipe")
    pipe = own if type(own) is list else []
    steps = [*pipe, *outer]
    made = [each for each in map(compile_step, steps) if isinstance(each, MadeStep)]
    readers = [each.step for each in made if each.row.name in _READERS]
    for place, step in enumerate(pipe):
        if any(_is_time(text, readers) for text in _texts(step)):
            yield f"{at}.pipe[{place}]"
    if _holds_digit(written.get("template")):
        yield f"{at}.template"
    members = written.get("first_of")
    for place, member in enumerate(members if type(members) is list else ()):
        yield from literal_times(member, f"{at}.first_of[{place}]", steps)


def _texts(step: Any) -> Iterator[Any]:
    """Yield the values that a step gives, whatever it gets."""
    match step:
        case ["map", dict() as table]:
            yield from table.values()
        case ["replace", _, new]:
            yield new


def _is_time(value: Any, readers: list[Step]) -> bool:
    value = plain(value)
    if read_time(value) is not None:
        return True
    results = [reader(value, Reading()) for reader in readers if value is not None]
    return any(type(result) is not SourceFailed for result in results)


def _holds_digit(template: Any) -> bool:
    """Return whether the text of a template, without placeholders and a zone at its end, holds a digit."""
    parts = parse_template(template) if isinstance(template, str) else ""
    if isinstance(parts, str):
        return False
    if isinstance(parts[-1], str):
        parts[-1] = _ZONE_AT_END.sub("", parts[-1])
    return any(character.isdigit() for part in parts if isinstance(part, str) for character in part)
