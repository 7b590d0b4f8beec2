"""Templates: texts with placeholders, such as `{order.id}-{user.country | lower}`; and values of paths."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from app.domain.conversion.numbers import is_number, number_text
from app.domain.mapping import pipes
from app.domain.mapping.paths import EACH, Path, collect, is_empty, parse_path, walk
from app.domain.mapping.pipes import MadeStep, compile_step
from app.domain.mapping.reading import Invented, Reading, SourceFailed, StepProblem, wrong_type

MAX_TEMPLATE_LENGTH: Final = 512
MAX_PLACEHOLDERS: Final = 8
MAX_PLACEHOLDER_STEPS: Final = 4

# A quoted name in a path may hold braces and bars. Each alternative begins with other characters.
_PIECE: Final = re.compile(
    r"""(?P<text>[^{}]+) | (?P<brace>\{\{|\}\})
      | \{ (?P<path>(?:"[^"]*"|[^"{}|])+) (?P<steps>(?:\|[^"{}|]*)*) \}""",
    re.VERBOSE,
)
# Steps that make one value of a list, and the one that keeps a list.
_REDUCERS: Final = frozenset({"count", "sum", "min", "max", "first", "last", "join"})


Value = Callable[[dict[str, Any], Reading], Any]


class Placeholder(NamedTuple):
    """The value at a path, after steps without arguments."""

    text: str
    path: Path
    steps: tuple[MadeStep, ...]


def parse_template(text: str) -> list[str | Placeholder] | str:
    """Parse a template into its texts and placeholders, or return the problem as a sentence."""
    if len(text) > MAX_TEMPLATE_LENGTH:
        return f"A template has at most {MAX_TEMPLATE_LENGTH} characters."
    parts: list[str | Placeholder] = []
    position = 0
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            return (
                "A brace opens or closes a placeholder such as {user.id | lower}; write {{ or }} for a brace."
            )
        position = piece.end()
        if piece["path"] is None:
            parts.append(piece["text"] or piece["brace"][0])
            continue
        placeholder = _placeholder(piece["path"].strip(" "), piece["steps"])
        if isinstance(placeholder, str):
            return placeholder
        parts.append(placeholder)
    placeholders = sum(isinstance(part, Placeholder) for part in parts)
    if not 1 <= placeholders <= MAX_PLACEHOLDERS:
        return f"A template has 1 to {MAX_PLACEHOLDERS} placeholders."
    return parts


def _placeholder(text: str, written_steps: str) -> Placeholder | str:
    path = parse_path(text)
    if path is None:
        return "A placeholder begins with a path such as a.b[0].c."
    names = [step.strip(" ") for step in written_steps.split("|")[1:]]
    if len(names) > MAX_PLACEHOLDER_STEPS:
        return f"A placeholder has at most {MAX_PLACEHOLDER_STEPS} steps."
    first = next((name for name in names if name != "unique"), "")
    if EACH in path and first not in _REDUCERS:
        return "A placeholder with [*] needs a step that makes one value of the list, such as first or join."
    steps: list[MadeStep] = []
    for name in names:
        step = compile_step(name)
        if isinstance(step, StepProblem):
            return step.sentence
        steps.append(step)
    return Placeholder(text, path, tuple(steps))


def path_value(path: Path, pipe: tuple[MadeStep, ...]) -> Value:
    """Return a function that reads a path and applies the steps."""
    has_each, steps = EACH in path, tuple(each.step for each in pipe)

    def value(content: dict[str, Any], reading: Reading) -> Any:
        # No members found: no value.
        found = collect(content, path, reading) or None if has_each else walk(content, path)
        if is_empty(found) or type(found) is SourceFailed:
            return found
        return pipes.run(steps, found, reading)

    return value


def template_value(parts: Sequence[str | Placeholder], pipe: tuple[MadeStep, ...]) -> Value:
    """Return a function that fills a template and applies the steps."""
    filled = [part if isinstance(part, str) else path_value(part.path, part.steps) for part in parts]
    steps = tuple(each.step for each in pipe)

    def value(content: dict[str, Any], reading: Reading) -> Any:
        texts, is_known = [], True
        for part in filled:
            text = part if isinstance(part, str) else part(content, reading)
            if is_empty(text) and part is not text:
                return None
            if is_number(text):
                text = number_text(text)
            if type(text) is SourceFailed:
                return text
            if not isinstance(text, str):
                return wrong_type(text, "the template takes a text")
            is_known = is_known and not isinstance(text, Invented)
            texts.append(text)
        text = "".join(texts)
        return pipes.run(steps, text if is_known else Invented(text), reading)

    return value
