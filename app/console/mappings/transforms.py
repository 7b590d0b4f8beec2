"""The functions of a pipe as the mapping form explains them, each with an example. Pure."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from app.console.mappings.text import json_text, write_pipe
from app.domain.mapping.pipes import PIPES, make_step, run
from app.domain.mapping.reading import Reading
from app.domain.mapping.steps import StepProblem

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
