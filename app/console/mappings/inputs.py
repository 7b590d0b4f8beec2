"""The inputs of a source on the mapping form, and the source that they describe. Pure.

A source `x` has these inputs: `x.path` is a path, or a text with placeholders. `x.formats` and `x.zone` read
a time, `x.decimal` a number, `x.sum` a list; they are the first step of its pipe, and `x.pipe` has the other
steps. `x.others` are the other members of a `first_of`, one a line. A default (`x.default`) without a path is
a constant. `x.on_error` says what an unreadable value costs. A source that these do not express is JSON in
`x.path`, and a member of `first_of` is JSON in its line.

A step of a pipe is its name, followed by JSON arguments: `trim | replace "-" ""`. A value is a JSON number,
`true`, `false`, or text. A text that looks like a number, `true` or `false` is quoted.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any, Final

from app.domain.mapping.paths import parse_path
from app.domain.mapping.pipes import PIPES, make_step, run
from app.domain.mapping.reading import Reading, StepProblem
from app.domain.strict_json import json_text

ON_ERROR: Final = {"omit": "leave the field out", "reject": "reject the event"}
_PARTS: Final = ("path", "others", "formats", "zone", "decimal", "sum", "pipe", "default", "on_error")
_READING: Final = {"time": ("formats", "zone"), "number": ("decimal", "sum")}
_IN_SOURCE: Final = re.compile(r"\.(?:path|template|first_of|pipe|default|const|on_error)\b.*$")
# The path or template of a line, before its pipe. A bar within braces or quotes does not end it.
_LINE: Final = re.compile(r'((?:"[^"]*"|\{[^}]*\}|[^|"{])*)(?:\|(.*))?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class SourceInputs:
    """The inputs of a source. `problem` is the sentence that the form shows at this source, or None.

    `takes` says which inputs the first step of the pipe has: `time`, `number` or none. `decides` says whether
    the source may decide what an unreadable value costs.
    """

    name: str
    path: str = ""
    others: str = ""
    formats: str = ""
    zone: str = ""
    decimal: str = ""
    sum: str = ""
    pipe: str = ""
    default: str = ""
    on_error: str = ""
    takes: str = ""
    decides: bool = False
    problem: str | None = None

    @property
    def values(self) -> dict[str, str]:
        """Return what a browser sends of these inputs, of which only `others` keeps line ends."""
        parts = ["path", "pipe", "default", *_READING.get(self.takes, ())]
        parts += ["on_error"] if self.decides else []
        lines = {f"{self.name}.{part}": "".join(getattr(self, part).splitlines()) for part in parts}
        return {**lines, f"{self.name}.others": self.others}

    @property
    def is_plain(self) -> bool:
        """Whether the source is empty or only a path, so that its other inputs can be folded."""
        return not any(text for name, text in self.values.items() if not name.endswith(".path"))


ANY_INPUTS: Final = SourceInputs("#", takes="*", decides=True)  # has every input, as a template for scripts


def to_inputs(
    name: str,
    source: Any,
    bare: str,
    sentences: Mapping[str, str],
    *,
    at: str | None = None,
    text: bool = True,
    takes: str = "",
    decides: bool = False,
) -> SourceInputs:
    """Return the inputs of a source. `at` is its place in the document, if it is not its name."""
    empty = SourceInputs(name, takes=takes, decides=decides, problem=sentences.get(at or name))
    if source is None:
        return empty
    source = expand_source(source, bare)
    if isinstance(source, dict):
        inputs = replace(empty, **_parts(source, takes, text=text))
        if from_inputs(inputs.values, name, text=text) == source:
            return inputs
    return replace(empty, path=json_text(source))


def _parts(source: dict[str, Any], takes: str, *, text: bool) -> dict[str, Any]:
    members = source["first_of"] if _is_list_of_objects(source.get("first_of")) else [source]
    value = source.get("const", source.get("default"))
    pipe = members[0].get("pipe")
    reading = _reading_inputs(pipe[0], takes) if isinstance(pipe, list) and pipe else {}
    return {
        "path": path_text(members[0]),
        "others": "\n".join(map(_line, members[1:])),
        **reading,
        "pipe": write_pipe(pipe[1:] if reading and pipe else pipe),
        # In a text field, the user types text without quotes. In other fields, 5 is a number and "5" is a
        # text.
        "default": value if text and isinstance(value, str) else write_value(value),
        "on_error": str(source.get("on_error") or ""),
    }


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def path_text(member: Mapping[str, Any]) -> str:
    """Return the path or the template that a source reads; nothing for another source."""
    return str(member.get("path") or member.get("template") or "")


def _line(member: dict[str, Any]) -> str:
    """Return a member of `first_of` as a line: a path or template and its pipe, else JSON."""
    pipe = write_pipe(member.get("pipe"))
    line = path_text(member) + (f" | {pipe}" if pipe else "")
    return line if _read_line(line) == member else json_text(member)


def _read_line(line: str) -> dict[str, Any]:
    if member := read_source(line):
        return member
    found = _LINE.fullmatch(line)
    path, pipe = found.groups() if found else (line, None)
    return {**_path_source(path.strip()), **({} if pipe is None else {"pipe": _steps(pipe)})}


def _path_source(text: str) -> dict[str, Any]:
    """Return the source of a text that is a path, a template or JSON."""
    is_template = "{" in text and parse_path(text) is None
    return read_source(text) or {"template" if is_template else "path": text}


def _steps(text: str) -> list[Any]:
    steps = read_pipe(text)
    # If the text is not a pipe, make it a single step, so that validation reports a problem at its field.
    return [text.strip()] if steps is None else steps


def _reading_inputs(step: Any, takes: str) -> dict[str, str]:
    """Return the inputs that express the first step of a pipe, or none if they do not."""
    match takes, step:
        case "time", ["time", {"formats": [*formats]} as options] if options.keys() <= {"formats", "zone"}:
            inputs = {"formats": " | ".join(map(str, formats)), "zone": str(options.get("zone", ""))}
        case "number", ["to_number", str() as decimal]:
            inputs = {"decimal": decimal}
        case "number", ["sum", *names] if names:
            options = names.pop() if isinstance(names[-1], dict) else {}
            inputs = {"sum": ", ".join(map(str, names)), "decimal": str(options.get("decimal", ""))}
        case _:
            return {}
    return inputs if _reading_step(inputs) == step else {}


def _reading_step(inputs: Mapping[str, str]) -> list[Any] | None:
    """Return the first step of a pipe that the inputs describe, or None."""
    formats, zone, decimal, names = (
        inputs.get(part, "").strip() for part in ("formats", "zone", "decimal", "sum")
    )
    if formats or zone:
        written = [text.strip() for text in formats.split("|")]
        return ["time", {"formats": written} | ({"zone": zone} if zone else {})]
    if names:
        options = [{"decimal": decimal}] if decimal else []
        return ["sum", *(name.strip() for name in names.split(",")), *options]
    return ["to_number", decimal] if decimal else None


def from_inputs(values: Mapping[str, str], name: str, *, text: bool) -> dict[str, Any] | None:
    """Return the source that the inputs of a form describe, or None if they are empty.

    With `text`, a default is a text as it is typed.
    """
    inputs = {part: values.get(f"{name}.{part}", "").strip() for part in _PARTS}
    default = inputs["default"]
    value = (default if text else read_value(default)) if default else None
    members: list[dict[str, Any]] = []
    if inputs["path"]:
        first, step = _path_source(inputs["path"]), _reading_step(inputs)
        steps = [] if step is None else [step]
        steps += _steps(inputs["pipe"]) if inputs["pipe"] else []
        members.append({**first, "pipe": steps} if steps else first)
    members += [_read_line(line.strip()) for line in inputs["others"].splitlines() if line.strip()]
    if not members:
        return None if value is None else {"const": value}
    source: dict[str, Any] = members[0] if len(members) == 1 else {"first_of": members}
    if value is not None:
        source["default"] = value
    if inputs["on_error"]:
        source["on_error"] = inputs["on_error"]
    return source


def expand_source(source: Any, bare: str) -> Any:
    """Return a source in which short forms are expanded. `bare` is the member that a text stands for."""
    if isinstance(source, str):
        return {bare: source}
    if isinstance(source, dict) and isinstance(source.get("first_of"), list):
        return {**source, "first_of": [expand_source(member, bare) for member in source["first_of"]]}
    return source


def source_place(place: str) -> str:
    """Return the place of the source that a place in a document is part of."""
    return _IN_SOURCE.sub("", place)


_STEP_NAME = re.compile(r"\s*(\w+)\s*")
_DECODER = json.JSONDecoder(parse_float=Decimal)


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
    if isinstance(value, str) and read_value(value) == value:
        return value
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
