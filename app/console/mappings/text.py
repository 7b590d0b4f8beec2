"""Write pipes and values as one line of text, parse such a line, and explain the functions of a pipe. Pure.

A step is its name, followed by JSON arguments: `trim | replace "-" ""`. A value is a JSON number, `true`,
`false`, or text. A text that looks like a number, `true` or `false` is quoted.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

from app.domain.mapping.pipes import PIPES, make_step, run
from app.domain.mapping.reading import Reading, StepProblem

_STEP_NAME = re.compile(r"\s*(\w+)\s*")
_DECODER = json.JSONDecoder(parse_float=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def write_pipe(pipe: Any) -> str:
    """Return a pipe as one line of text. Return a value that is not a list of steps as JSON."""
    if not isinstance(pipe, list):
        return "" if pipe is None else json_text(pipe)
    return " | ".join(_step_text(step) for step in pipe)


def _step_text(step: Any) -> str:
    if isinstance(step, str):
        return step
    if isinstance(step, list) and step and isinstance(step[0], str):
        return " ".join([step[0], *(json_text(argument) for argument in step[1:])])
    return json_text(step)


def read_pipe(text: str) -> list[Any] | None:
    """Return the steps of a line, or None if it is not a pipe."""
    steps: list[Any] = []
    position = 0
    while name := _STEP_NAME.match(text, position):
        step: list[Any] = [name[1]]
        position = name.end()
        while position < len(text) and text[position] != "|":
            try:
                argument, position = _DECODER.raw_decode(text, position)
            except (ValueError, RecursionError):
                return None
            step.append(argument)
            position = _skip_blanks(text, position)
        steps.append(step[0] if len(step) == 1 else step)
        if position == len(text):
            return steps
        position += 1
    return None


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def write_value(value: Any) -> str:
    """Return a constant or a default as the user would type it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return json_text(value) if read_value(value) != value else value
    return json_text(value)


def read_value(text: str) -> Any:
    """Parse a constant or a default as the user typed it."""
    if text in ("true", "false") or text[:1] in '-0123456789"':
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            return text
        if end == len(text) and isinstance(value, str | int | bool | Decimal):
            return value
    return text


def json_text(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def read_source(text: str) -> dict[str, Any] | None:
    """Return a source that is typed as a JSON object, or None for another text."""
    try:
        source, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return source if isinstance(source, dict) and end == len(text) else None


_MAX_EXAMPLE: Final = 44  # characters; the result of `sha256_lower` has more


@dataclass(frozen=True, slots=True)
class Transform:
    """A function of a pipe as it is typed, its help text, and an example of a value and its result."""

    text: str
    help: str
    value: str
    result: str


@cache
def transforms() -> tuple[Transform, ...]:
    """Return the functions of a pipe in their order."""
    return tuple(
        _transform(written, pipe.help, value) for pipe in PIPES.values() for written, value in pipe.examples
    )


def _transform(written: Any, help_text: str, value: Any) -> Transform:
    step = make_step(written)
    assert not isinstance(step, StepProblem)
    result = json_text(run((step,), value, Reading()))
    shown = result if len(result) <= _MAX_EXAMPLE else f"{result[:12]}…"
    return Transform(write_pipe([written]), help_text, json_text(value), shown)
