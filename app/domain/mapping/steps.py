"""What pipe functions share: the type of a step, its failures, and the types of values that it takes."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from app.domain.conversion import numbers
from app.domain.conversion.failures import SourceFailed, characters, wrong_type
from app.domain.conversion.numbers import is_number, number_text
from app.domain.mapping.reading import Reading

MAX_PIPED_TEXT: Final = 8192  # characters of a text before and after each step

_FILE: Final = tomllib.loads(Path(__file__).with_name("pipes.toml").read_text("utf-8"))

# Takes a value that is not None. Returns a value or `SourceFailed`.
Step = Callable[[Any, Reading], Any]


@dataclass(frozen=True, slots=True)
class StepProblem:
    """Why a step of a mapping document is refused: a sentence, and a code of the field problem."""

    sentence: str
    code: str = "pipe_invalid"


# Takes the arguments of a pipe function. Returns its step, or the problem of the arguments.
Maker = Callable[[list[Any]], "Step | StepProblem | str"]


@dataclass(frozen=True, slots=True)
class Pipe:
    """A pipe function. `make` creates a step of its arguments. `pipes.toml` has its explanation and examples.

    `cost` is its work in steps of about a microsecond. `shows` says for which purposes the step does the same
    to an invented value as to the real one, in a backtest (`app.domain.observed.certainty`). `reads` returns
    which arguments are paths in the members of a list.
    """

    name: str
    make: Maker
    cost: int = 1
    shows: frozenset[str] = frozenset()
    reads: Callable[[list[Any]], list[Any]] = lambda _arguments: []

    @property
    def help(self) -> str:
        return str(_FILE[self.name][0])

    @property
    def examples(self) -> list[tuple[Any, Any]]:
        """Uses of the function as a mapping writes them, each with a value to which it can be applied."""
        return [
            tuple(json.loads(text, parse_float=Decimal) for text in pair) for pair in _FILE[self.name][1:]
        ]


ALWAYS: Final = frozenset({"text", "amount", "count", "length", "time", "hash"})
AMOUNT: Final = frozenset({"amount"})
NUMBER: Final = frozenset({"amount", "count"})
TIME: Final = frozenset({"time"})
HASH: Final = frozenset({"hash"})


def unreadable(what: str) -> SourceFailed:
    return SourceFailed("transform_failed", what)


def on_text(name: str, shape: Callable[[str], Any]) -> Step:
    """Return a step for texts. `wrong_type` answers for texts whose characters are not stored."""

    def step(value: Any, _reading: Reading) -> Any:
        if type(value) is not str:
            return wrong_type(value, f"the pipe's {name} takes a text")
        return shape(value)

    return step


def on_number(name: str, shape: Callable[[int | Decimal], Any]) -> Step:
    def step(value: Any, _reading: Reading) -> Any:
        if not is_number(value):
            return wrong_type(value, f"the pipe's {name} takes a number")
        return shape(value)

    return step


def text_of(value: Any) -> Any:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return number_text(value)
        case _:
            return wrong_type(value, "a text, number or boolean is expected")


TOO_MANY_DIGITS: Final = unreadable("has too many digits to calculate with")


def read_amount(value: Any, decimal: str | None) -> Any:
    """Return a number, or the number in a text; `decimal` is its decimal sign as in `to_number`."""
    if is_number(value):
        return value
    if type(value) is not str:
        value = characters(value, "number")
        if type(value) is not str:
            return wrong_type(value, "a number or a text with a number is expected")
    number = numbers.read_number(value.strip(), decimal)
    return unreadable("is not a number in the expected form") if number is None else number
