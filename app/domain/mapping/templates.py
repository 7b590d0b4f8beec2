"""Templates: texts with placeholders, such as `{order.id}-{user.country | lower}`."""

import re
from typing import Final, NamedTuple

from app.domain.mapping.paths import EACH, parse_path
from app.domain.mapping.paths import Step as PathStep
from app.domain.mapping.pipes import MadeStep, compile_step
from app.domain.mapping.steps import StepProblem

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


class Placeholder(NamedTuple):
    """The value at a path, after steps without arguments."""

    text: str
    path: tuple[PathStep, ...]
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
    if EACH in path:
        reducer = next((place for place, name in enumerate(names) if name in _REDUCERS), None)
        if reducer is None or any(name != "unique" for name in names[:reducer]):
            return (
                "A placeholder with [*] needs a step that makes one value of the list, such as first or join."
            )
    steps: list[MadeStep] = []
    for name in names:
        step = compile_step(name)
        if isinstance(step, StepProblem):
            return step.sentence
        steps.append(step)
    return Placeholder(text, path, tuple(steps))
