"""Write pipes and values as one line of text and read them back. Pure.

A step is its name followed by JSON arguments: `trim | replace "-" ""`. A value is a JSON number, `true`,
`false`, or text; text that looks like one of the others is quoted.
"""

import json
from decimal import Decimal
from typing import Any

import msgspec

_DECODER = json.JSONDecoder(parse_float=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def write_pipe(pipe: Any) -> str:
    """Return a pipe as one line. A value that is not a list of steps becomes JSON."""
    if not isinstance(pipe, list):
        return "" if pipe is None else _dumped(pipe)
    return " | ".join(_written(step) for step in pipe)


def _written(step: Any) -> str:
    if isinstance(step, str):
        return step
    if isinstance(step, list) and step and isinstance(step[0], str):
        return " ".join([step[0], *(_dumped(argument) for argument in step[1:])])
    return _dumped(step)


def read_pipe(text: str) -> list[Any] | None:
    """Return the steps of a line, or None if it is not a pipe."""
    steps: list[Any] = []
    at = 0
    while True:
        at = _blanks(text, at)
        end = at
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        if end == at:
            return None
        step: list[Any] = [text[at:end]]
        at = _blanks(text, end)
        while at < len(text) and text[at] != "|":
            try:
                argument, at = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                return None
            step.append(argument)
            at = _blanks(text, at)
        steps.append(step[0] if len(step) == 1 else step)
        if at == len(text):
            return steps
        at += 1


def _blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def write_value(value: Any) -> str:
    """Return a constant or default as typed text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _dumped(value) if read_value(value) != value else value
    return _dumped(value)


def read_value(text: str) -> Any:
    """Return the value of a typed constant or default."""
    if text in ("true", "false") or text[:1] in '-0123456789"':
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            return text
        if end == len(text) and isinstance(value, str | int | bool | Decimal):
            return value
    return text


def _dumped(value: Any) -> str:
    return _ENCODER.encode(value).decode()
