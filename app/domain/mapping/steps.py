"""What pipe functions share: the types of a step and its problems, and steps that take one type of values."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final

from app.domain.conversion.failures import wrong_type
from app.domain.mapping.reading import Reading

# Takes a value that is not None. Returns a value or `SourceFailed`.
Step = Callable[[Any, Reading], Any]


@dataclass(frozen=True, slots=True)
class StepProblem:
    """Why a step of a mapping document is refused: a sentence, and a code of the field problem."""

    sentence: str
    code: str = "pipe_invalid"


def _on(types: tuple[type, ...], kind: str, name: str, shape: Callable[[Any], Any]) -> Step:
    """Return a step for values of these types. `wrong_type` answers for texts that are not stored."""

    def step(value: Any, _reading: Reading) -> Any:
        if type(value) not in types:
            return wrong_type(value, f"the pipe's {name} takes a {kind}")
        return shape(value)

    return step


on_text: Final = partial(_on, (str,), "text")
on_number: Final = partial(_on, (int, Decimal), "number")
