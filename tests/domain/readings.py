"""Read a source of a mapping in an event, and show its value, or the reason why it has none."""

from typing import Any

from app.domain.mapping.reading import Reading, SourceFailed
from app.domain.mapping.sources import Check, Problems, Source, compile_source, unchecked


def compiled(written: Any, **options: Any) -> Source:
    problems = Problems()
    source = compile_source(written, "x", problems, bare="path", **options)
    assert source is not None, problems
    return source


def refused(written: Any, **options: Any) -> list[tuple[str, str]]:
    """Return the place and code of each problem of a source."""
    problems = Problems()
    assert compile_source(written, "x", problems, bare="path", **options) is None
    assert problems
    assert all(problem.sentence.endswith(".") for problem in problems)
    return [(problem.path, problem.problem) for problem in problems]


def read(
    written: Any, content: Any, reading: Reading | None = None, check: Check = unchecked, **options: Any
) -> Any:
    """Return the value of a source in an event; a failure shows as its reason."""
    value = compiled(written, **options).read(content, reading or Reading(), check)
    return value.reason if isinstance(value, SourceFailed) else value


def read_with_notes(written: Any, content: Any) -> tuple[Any, list[str]]:
    reading = Reading()
    return read(written, content, reading), reading.notes


def piped(value: Any, *pipe: Any) -> Any:
    """Return the value after a pipe; a failure shows as its reason."""
    return read({"path": "v", "pipe": list(pipe)}, {"v": value})
