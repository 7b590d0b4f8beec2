"""Compile the source of a field in a mapping: a constant, or a path with an optional pipe and default."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from app.domain.conversion.failures import SourceFailed
from app.domain.conversion.numbers import plain
from app.domain.mapping import pipes
from app.domain.mapping.paths import IMPASSABLE, Getter, getter, parse_path
from app.domain.mapping.reading import Reading

MAX_CONSTANT_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class MappingProblem:
    """A problem at `path` of a mapping document: a stable code, and a sentence for the operator."""

    path: str
    problem: str
    sentence: str


# Takes the value that a source gave. Returns the value for Amazon, or `SourceFailed`.
Check = Callable[[Any], Any]
Read = Callable[[dict[str, Any], Reading, Check], Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A compiled source.

    `read` takes the content of an event, and returns the result of the check for its value: None if the value
    is absent, null or blank, and `SourceFailed` if it cannot be read. `path` is the first path that the
    source reads, None for a constant; `paths` are all. `rule` has the names of the pipe's functions, for a
    preview. `pipe` is the text of the complete pipe, to compare it with others. `on_error` is `omit`,
    `reject` or None. `steps` is the work that each event costs, whatever it holds.
    """

    read: Read
    paths: tuple[str, ...] = ()
    const: Any = None
    default: Any = None
    rule: str = ""
    pipe: str = ""
    on_error: str | None = None
    steps: int = 2

    @property
    def path(self) -> str | None:
        return self.paths[0] if self.paths else None


def unchecked(value: Any) -> Any:
    """Accept a value as it is, where a source is read without a destination field."""
    return value


def constant(value: Any) -> Source:
    """Return a source with the same value for every event."""
    return Source(lambda _content, _reading, check: check(value), const=value, rule="const")


def compile_source(
    written: Any, at: str, *, bare: str, keep_blank: bool = False
) -> Source | list[MappingProblem]:
    """Compile a source of a mapping document, or return its problems. `at` is its path in the document.

    `bare` says how to read a source that is a text: "const" for a constant, "path" for a path. A blank value
    counts as absent. For a match key, `keep_blank` returns white space, so that the match key is reported as
    dropped.
    """
    if isinstance(written, str):
        written = {bare: written}
    if type(written) is not dict:
        return [MappingProblem(at, "wrong_type", "A source is a text or an object with const or path.")]
    if not written.keys() <= {"const", "path", "pipe", "default"}:
        sentence = "A source has only the members const, path, pipe and default."
        return [MappingProblem(at, "unknown_member", sentence)]
    if "const" in written:
        if len(written) > 1:
            return [MappingProblem(at, "const_stands_alone", "A constant takes no path, pipe or default.")]
        const = plain(written["const"])
        problem = _scalar_problem(const, f"{at}.const")
        return [problem] if problem else _text(const) if type(const) is str else constant(const)
    if "path" not in written:
        return [MappingProblem(at, "required", "A source needs const or path.")]
    return _compile_path(written, at, keep_blank=keep_blank)


def _compile_path(written: dict[str, Any], at: str, *, keep_blank: bool) -> Source | list[MappingProblem]:
    problems: list[MappingProblem] = []
    text = written["path"]
    found = parse_path(text) if isinstance(text, str) else None
    if found is None:
        sentence = 'A path is names and indexes such as a.b[0].c or ["utm source"].x.'
        problems.append(MappingProblem(f"{at}.path", "path_invalid", sentence))
    pipe = written.get("pipe", [])
    steps: list[pipes.Step] = []
    if type(pipe) is not list or len(pipe) > pipes.MAX_PIPE_STEPS:
        sentence = f"A pipe is a list of at most {pipes.MAX_PIPE_STEPS} steps."
        problems.append(MappingProblem(f"{at}.pipe", "wrong_type", sentence))
    else:
        for number, step_written in enumerate(pipe):
            step = pipes.make_step(step_written)
            if isinstance(step, str):
                problems.append(MappingProblem(f"{at}.pipe[{number}]", "pipe_invalid", step))
            else:
                steps.append(step)
    default = plain(written.get("default"))
    problem = None if default is None else _scalar_problem(default, f"{at}.default")
    if problem:
        problems.append(problem)
    if problems or found is None:
        return problems
    if not steps and (default is None or type(default) is str):
        return _plain(text, default, keep_blank)
    names = [step if isinstance(step, str) else step[0] for step in pipe]
    read = _reader(getter(found), tuple(steps), default, keep_blank=keep_blank)
    rule = " | ".join(names)
    return Source(read, (text,), default=default, rule=rule, pipe=repr(pipe), steps=2 + len(steps))


# Mappings share equal sources to save memory: a thousand destinations have few different sources. Constants
# other than texts are not shared, because 1, 1.0 and True would be the same key of the cache.
_share = lru_cache(maxsize=4096)
_text = _share(constant)


@_share
def _plain(text: str, default: str | None, keep_blank: bool) -> Source:
    steps = parse_path(text)
    assert steps is not None
    return Source(_reader(getter(steps), (), default, keep_blank=keep_blank), (text,), default=default)


def _reader(get: Getter, steps: tuple[pipes.Step, ...], default: Any, *, keep_blank: bool) -> Read:
    """Return a function that reads a path of an event, applies the steps and checks the value.

    The default is checked if the value is absent, null or blank, before or after the steps.
    """

    def read_plain(content: dict[str, Any], _reading: Reading, check: Check) -> Any:
        value = get(content)
        if type(value) is str and value and not value.isspace():
            return check(value)  # the usual case
        return _UNREACHABLE if value is IMPASSABLE else finish(value, check)

    def read(content: dict[str, Any], _reading: Reading, check: Check) -> Any:
        value = get(content)
        if value is IMPASSABLE:
            return _UNREACHABLE
        if type(value) is not str or (value and not value.isspace()):
            value = pipes.run(steps, value)
        return finish(value, check)

    def finish(value: Any, check: Check) -> Any:
        if type(value) is str and (not value or value.isspace()):
            value = value if value and default is None and keep_blank else None
        if value is None:
            return None if default is None else check(default)
        return value if type(value) is SourceFailed else check(value)

    return read if steps else read_plain


_UNREACHABLE: Final = SourceFailed(
    "wrong_type", "cannot be read: the path goes through a value without members"
)


def _scalar_problem(value: Any, at: str) -> MappingProblem | None:
    if not isinstance(value, str | int | Decimal) or (isinstance(value, Decimal) and not value.is_finite()):
        return MappingProblem(at, "wrong_type", "Use a text, a number or a boolean.")
    if isinstance(value, str) and len(value) > MAX_CONSTANT_LENGTH:
        return MappingProblem(at, "too_long", f"A constant has at most {MAX_CONSTANT_LENGTH:,} characters.")
    return None
