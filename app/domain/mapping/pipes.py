"""Pipe functions: named steps that change a value of the event before it becomes a field of the Amazon event.

A step takes any JSON value, never raises, and runs in time linear in its input. It returns a value or
`SourceFailed`. The reason is `wrong_type` for a value of another JSON type, and `transform_failed` for a
value that the step cannot read.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion import numbers
from app.domain.mapping import list_steps, time_steps
from app.domain.mapping.list_steps import extreme, on_list
from app.domain.mapping.reading import (
    OVER_BUDGET,
    SHORT_TEXT,
    UNCLEAR,
    Invented,
    Reading,
    SourceFailed,
    Step,
    StepProblem,
    on_number,
    on_text,
    wrong_type,
)
from app.domain.privacy.normal_forms import stream_safe
from app.domain.toml_files import read_toml

MAX_PIPE_STEPS: Final = 16
MAX_PIPED_TEXT: Final = 8192  # characters of a text before and after each step
_MAX_DIGITS: Final = 12  # of the argument of a calculation, before and after the point
WHERE: Final = "where"

_NOT_DIGITS: Final = re.compile(r"[^0-9]+")
_NOT_ALNUM: Final = re.compile(r"[^a-z0-9]+")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


_FILE: Final = read_toml(__file__)

# Takes the arguments of a pipe function. Returns its step, or the problem of the arguments.
Maker = Callable[[list[Any]], Step | StepProblem | str]


@dataclass(frozen=True, slots=True)
class Pipe:
    """A pipe function. `make` creates a step of its arguments. `pipes.toml` has its explanation and examples.

    `cost` is its work in steps of about a microsecond. `shows` says for which purposes the step does the same
    to an invented value as to the real one, in a backtest (`app.domain.observed.synthetic_event`). `reads`
    returns which arguments are paths in the members of a list.
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
    def examples(self) -> list[tuple[Any, ...]]:
        """Uses of the function as a mapping writes them, each with a value to which it can be applied."""
        pairs = _FILE[self.name][1:]
        return [tuple(json.loads(text, parse_float=Decimal) for text in pair) for pair in pairs]


ALWAYS: Final = frozenset({"text", "amount", "count", "length", "time", "hash"})
AMOUNT: Final = frozenset({"amount"})
NUMBER: Final = frozenset({"amount", "count"})
TIME: Final = frozenset({"time"})
HASH: Final = frozenset({"hash"})


def _slug(arguments: list[Any]) -> Step | str:
    if arguments not in ([], ["_"], ["-"]):
        return 'takes "_" or "-" as its only argument'
    joint = arguments[0] if arguments else "_"

    def shape(text: str) -> str:
        if not text.isascii():
            text = unicodedata.normalize("NFKD", stream_safe(text)).encode("ascii", "ignore").decode()
        return _NOT_ALNUM.sub(joint, text.lower()).strip(joint)

    return on_text("slug", shape)


def _split(arguments: list[Any]) -> Step | str:
    if len(arguments) != 1 or not isinstance(arguments[0], str) or not 1 <= len(arguments[0]) <= 16:
        return "takes one argument, a text of 1 to 16 characters"
    return on_text("split", lambda text: text.split(arguments[0]))


def _substring(arguments: list[Any]) -> Step | str:
    integers = all(type(a) is int and -MAX_PIPED_TEXT <= a <= MAX_PIPED_TEXT for a in arguments)
    if not integers or len(arguments) not in (1, 2):
        return "takes a start and an optional end, whole numbers; negative ones count from the end"
    cut = slice(arguments[0], arguments[1] if len(arguments) == 2 else None)
    return on_text("substring", lambda text: text[cut])


def _replace(arguments: list[Any]) -> Step | str:
    texts = len(arguments) == 2 and all(isinstance(a, str) and len(a) <= 64 for a in arguments)
    if not texts or not arguments[0]:
        return "takes two texts of at most 64 characters: the text to find, not empty, and its replacement"
    find, new = arguments

    def step(value: Any, _reading: Reading) -> Any:
        if type(value) is str:
            return value.replace(find, new)
        # A text that is the one to find becomes the new one. Where else it occurs is not known.
        if isinstance(value, Invented) and value.is_equal(find):
            return new
        return wrong_type(value, "the pipe's replace takes a text")

    return step


def _map(arguments: list[Any]) -> Step | str:
    table = arguments[0] if len(arguments) == 1 else None
    if type(table) is not dict or not 1 <= len(table) <= 200:
        return "takes one argument, an object of 1 to 200 members"
    rows = {key: numbers.plain(v) for key, v in table.items()}
    if not all(v is None or isinstance(v, str | int | Decimal) for v in rows.values()):
        return "takes an object whose values are texts, numbers, booleans or null"

    def step(value: Any, _reading: Reading) -> Any:
        if isinstance(value, Invented):
            return _map_invented(value, rows)
        text = numbers.scalar_text(numbers.as_integer(value))
        if isinstance(text, SourceFailed):
            return wrong_type(value, "the pipe's map takes a text, number or boolean")
        return rows.get(text, rows.get("*", value))

    return step


def _map_invented(value: Invented, rows: Mapping[str, Any]) -> Any:
    verdicts = {key: value.is_equal(key) for key in rows if key != "*"}
    row = next((key for key, verdict in verdicts.items() if verdict), "*")
    if row == "*" and None in verdicts.values():
        return UNCLEAR
    return rows.get(row, value if value.as_is is None else value.as_is)


# The words that Amazon's tag template accepts, except those for consent only.
_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "1", "on", "enabled"), True),
    **dict.fromkeys(("false", "no", "0", "off", "disabled"), False),
}
_NO_BOOLEAN: Final = SourceFailed("transform_failed", "is not a value that the pipe's to_bool accepts")


def _to_bool(value: Any, _reading: Reading) -> Any:
    text = numbers.scalar_text(numbers.as_integer(value))
    if type(text) is not str:
        return wrong_type(value, numbers.TEXT_EXPECTED)
    truth = _BOOLEANS.get(text.strip().lower())
    return _NO_BOOLEAN if truth is None else truth


def _sha256_lower(text: str) -> str:
    word = text.strip().lower()
    # A text that is already a digest is not hashed again (P8).
    return word if _DIGEST.fullmatch(word) else hashlib.sha256(word.encode("utf-8", "replace")).hexdigest()


def _to_number(arguments: list[Any]) -> Step | str:
    decimal = arguments[0] if arguments else None
    if len(arguments) > 1 or (arguments and decimal not in numbers.DECIMAL_SIGNS):
        return 'takes the decimal sign "," or "."'

    def step(value: Any, reading: Reading) -> Any:
        return numbers.read_amount(value, decimal)

    return step


def _calculation(name: str, calculate: Callable[[Decimal, Decimal], Decimal]) -> Maker:
    """Return the `make` of a function that calculates with its argument, exact to 12 decimals."""

    def compile_step(arguments: list[Any]) -> Step | str:
        argument = numbers.plain(arguments[0]) if len(arguments) == 1 else None
        constant = Decimal(argument) if numbers.is_number(argument) else None
        if constant is None or abs(constant) >= 10**_MAX_DIGITS or numbers.result(constant) != constant:
            return f"takes a number with at most {_MAX_DIGITS} digits before and after the point"
        if name == "divide" and constant == 0:
            return "takes a number other than 0"

        def shape(number: int | Decimal) -> Any:
            operand = numbers.operand(number)
            if isinstance(operand, SourceFailed):
                return operand
            return numbers.result(calculate(operand, constant))

        return on_number(name, shape)

    return compile_step


def _round(arguments: list[Any]) -> Step | str:
    places = arguments[0] if arguments else 0
    if len(arguments) > 1 or type(places) is not int or not 0 <= places <= 6:
        return "takes the number of decimals, 0 to 6"
    return on_number("round", lambda number: numbers.rounded(number, places))


def _absolute(number: int | Decimal) -> int | Decimal:
    # `abs` would round a Decimal to 28 digits.
    return abs(number) if type(number) is int else Decimal(number).copy_abs()


def _bare(name: str, step: Step, cost: int = 1, shows: frozenset[str] = frozenset()) -> Pipe:
    """Return the row of a pipe function without arguments."""
    return Pipe(name, lambda given: "takes no argument" if given else step, cost, shows)


def _text(name: str, shape: Callable[[str], Any], shows: frozenset[str] = frozenset()) -> Pipe:
    return _bare(name, on_text(name, shape), 1, shows)


_ROWS: Final = (
    _text("trim", str.strip, ALWAYS),
    _text("lower", str.lower, HASH),
    _text("upper", str.upper),
    _text("digits", lambda text: _NOT_DIGITS.sub("", text)),
    Pipe("slug", _slug, 2),
    _text("title", str.title),
    Pipe("split", _split),
    Pipe("substring", _substring),
    Pipe("replace", _replace),
    Pipe("map", _map),
    Pipe("to_number", _to_number, 2, NUMBER),
    Pipe("round", _round, 1, AMOUNT),
    _bare("abs", on_number("abs", _absolute), 1, AMOUNT),
    Pipe("multiply", _calculation("multiply", numbers.multiply), 3, AMOUNT),
    Pipe("divide", _calculation("divide", numbers.divide), 3, AMOUNT),
    Pipe("add", _calculation("add", numbers.add), 3),
    _bare("to_string", lambda value, _: numbers.scalar_text(value), 1, ALWAYS),
    _bare("to_bool", _to_bool),
    Pipe("time", time_steps.time_step, 5, TIME),
    _bare("epoch_s", time_steps.epoch_step(1, "seconds"), 2, TIME),
    _bare("epoch_ms", time_steps.epoch_step(1000, "milliseconds"), 2, TIME),
    Pipe("date", time_steps.date_step, 4, TIME),
    _text("sha256_lower", _sha256_lower, HASH),
    _bare("first", list_steps.first, 1, ALWAYS),
    _bare("last", list_steps.last, 1, ALWAYS),
    Pipe("join", list_steps.join_step),
    _bare("count", on_list("count", list_steps.count, 0), 1, frozenset({"count", "length"})),
    _bare("unique", on_list("unique", list_steps.unique), 1, ALWAYS),
    Pipe("pluck", list_steps.pluck_step, shows=ALWAYS, reads=list),
    Pipe("sum", list_steps.sum_step, shows=NUMBER, reads=list),
    Pipe("min", extreme("min", min), 1, AMOUNT),
    Pipe("max", extreme("max", max), 1, AMOUNT),
    Pipe(WHERE, list_steps.where_step, reads=lambda arguments: arguments[:1]),
)

PIPES: Final[Mapping[str, Pipe]] = {row.name: row for row in _ROWS}


@dataclass(frozen=True, slots=True)
class MadeStep:
    """A compiled step with the row of its function, and the paths that it reads in the members of a list."""

    step: Step
    row: Pipe
    paths: tuple[str, ...] = ()


def hashes(made: Iterable[MadeStep]) -> bool:
    """Return whether a pipe hashes its value."""
    return any(each.row.name == "sha256_lower" for each in made)


def cost(made: Iterable[MadeStep]) -> int:
    """Return the work of steps that each event costs, whatever it holds."""
    return sum(each.row.cost for each in made)


def make_step(written: Any) -> Step | StepProblem:
    """Compile a step such as `"lower"` or `["replace", "a", "b"]`, or return its problem."""
    made = compile_step(written)
    return made.step if isinstance(made, MadeStep) else made


def compile_step(written: Any) -> MadeStep | StepProblem:
    """Compile a step and describe it, or return its problem."""
    name, *arguments = written if type(written) is list and written else [written]
    if not isinstance(name, str):
        return StepProblem('A pipe step is a name such as "trim", or a list such as ["replace", "a", "b"].')
    row = PIPES.get(name)
    if row is None:
        return StepProblem(f"No pipe function has this name. The functions are {', '.join(PIPES)}.")
    step = row.make(arguments)
    if isinstance(step, StepProblem):
        return step
    if isinstance(step, str):
        return StepProblem(f"{name} {step}.")
    return MadeStep(step, row, tuple(path for path in row.reads(arguments) if isinstance(path, str)))


def run(steps: tuple[Step, ...], value: Any, reading: Reading) -> Any:
    """Apply the steps in order. Stop at the first result that is None or `SourceFailed`, and return it."""
    for step in steps:
        if value is None:
            return None
        if type(value) is str and len(value) > SHORT_TEXT:
            if len(value) > MAX_PIPED_TEXT:
                return TOO_LONG
            if not reading.charge_text(value):
                return OVER_BUDGET
        value = step(value, reading)
        if type(value) is SourceFailed:
            return value
    return TOO_LONG if type(value) is str and len(value) > MAX_PIPED_TEXT else value


TOO_LONG: Final = SourceFailed(
    "value_too_long", f"has more than the {MAX_PIPED_TEXT:,} characters that a pipe accepts"
)
