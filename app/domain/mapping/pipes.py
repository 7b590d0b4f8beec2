"""Pipe functions: named steps that change a value of the event before it becomes a field of the Amazon event.

A step takes any JSON value, never raises, and runs in time linear in its input. It returns a value or
`SourceFailed`. The reason is `wrong_type` for a value of another JSON type, and `transform_failed` for a
value that the step cannot read.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion import numbers
from app.domain.conversion.failures import UNCLEAR, Invented, SourceFailed, wrong_type
from app.domain.conversion.numbers import as_integer, plain
from app.domain.mapping import list_steps, number_steps, time_steps
from app.domain.mapping.list_steps import extreme, on_list
from app.domain.mapping.number_steps import calculation
from app.domain.mapping.reading import OVER_BUDGET, SHORT_TEXT, Reading
from app.domain.mapping.steps import (
    ALWAYS,
    AMOUNT,
    HASH,
    MAX_PIPED_TEXT,
    NUMBER,
    TIME,
    Pipe,
    Step,
    StepProblem,
    on_number,
    on_text,
    text_of,
    unreadable,
)

MAX_PIPE_STEPS: Final = 16
WHERE: Final = "where"

_NOT_DIGITS: Final = re.compile(r"[^0-9]+")
_NOT_ALNUM: Final = re.compile(r"[^a-z0-9]+")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def _slug(arguments: list[Any]) -> Step | str:
    if arguments not in ([], ["_"], ["-"]):
        return 'takes "_" or "-" as its only argument'
    joint = arguments[0] if arguments else "_"

    def shape(text: str) -> str:
        if not text.isascii():
            text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
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
        return (
            new
            if isinstance(value, Invented) and value.is_equal(find)
            else wrong_type(value, "the pipe's replace takes a text")
        )

    return step


def _map(arguments: list[Any]) -> Step | str:
    table = arguments[0] if len(arguments) == 1 else None
    if type(table) is not dict or not 1 <= len(table) <= 200:
        return "takes one argument, an object of 1 to 200 members"
    rows = {key: plain(v) for key, v in table.items()}
    if not all(v is None or isinstance(v, str | int | Decimal) for v in rows.values()):
        return "takes an object whose values are texts, numbers, booleans or null"

    def step(value: Any, _reading: Reading) -> Any:
        if isinstance(value, Invented):
            return _map_invented(value, rows)
        text = text_of(as_integer(value))
        if isinstance(text, SourceFailed):
            return wrong_type(value, "the pipe's map takes a text, number or boolean")
        return rows.get(text, rows.get("*", value))

    return step


def _map_invented(value: Invented, rows: Mapping[str, Any]) -> Any:
    verdicts = {key: value.is_equal(key) for key in rows if key != "*"}
    equal = next((key for key, verdict in verdicts.items() if verdict), None)
    if equal is None and None in verdicts.values():
        return UNCLEAR
    if equal is None:
        return rows.get("*", value if value.as_is is None else value.as_is)
    return rows[equal]


# The words that Amazon's tag template accepts, except those for consent only.
_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "1", "on", "enabled"), True),
    **dict.fromkeys(("false", "no", "0", "off", "disabled"), False),
}


def _to_bool(value: Any, _reading: Reading) -> Any:
    text = text_of(as_integer(value))
    if type(text) is not str:
        return wrong_type(value, "a text, number or boolean is expected")
    truth = _BOOLEANS.get(text.strip().lower())
    return unreadable("is not a value that the pipe's to_bool accepts") if truth is None else truth


def _sha256_lower(text: str) -> str:
    word = text.strip().lower()
    # A text that is already a digest is not hashed again (P8).
    return word if _DIGEST.fullmatch(word) else hashlib.sha256(word.encode("utf-8", "replace")).hexdigest()


def _bare(name: str, help_text: str, step: Step, cost: int = 1, shows: frozenset[str] = frozenset()) -> Pipe:
    """Return the row of a pipe function without arguments."""
    return Pipe(
        name, f'"{name}"', help_text, lambda given: "takes no argument" if given else step, cost, shows
    )


def _text(
    name: str, help_text: str, shape: Callable[[str], Any], shows: frozenset[str] = frozenset()
) -> Pipe:
    return _bare(name, help_text, on_text(name, shape), 1, shows)


def _epoch(name: str, per_second: int, unit: str) -> Pipe:
    step = time_steps.epoch_step(per_second, unit)
    return _bare(name, f"Read {unit} since 1970 as a time.", step, 2, TIME)


_ROWS: Final = (
    _text("trim", "Remove white space at both ends.", str.strip, ALWAYS),
    _text("lower", "Convert to lower case.", str.lower, HASH),
    _text("upper", "Convert to upper case.", str.upper),
    _text("digits", "Keep only 0 to 9.", lambda text: _NOT_DIGITS.sub("", text)),
    Pipe(
        "slug", '"slug" or ["slug", "-"]', "Lower case without accents; words joined with _ or -.", _slug, 2
    ),
    _text("title", "Capitalise each word.", str.title),
    Pipe("split", '["split", ","]', "Split a text into a list.", _split),
    Pipe("substring", '["substring", 0, 5]', "Keep the characters from start to end.", _substring),
    Pipe("replace", '["replace", "a", "b"]', "Replace every occurrence of a text.", _replace),
    Pipe("map", '["map", {"a": "b", "*": "c"}]', 'Map values to other values; "*" matches all others.', _map),
    Pipe(
        "to_number",
        '"to_number" or ["to_number", ","]',
        'Convert a text to a number; with "," or "." as decimal sign, groups and currencies are read too.',
        number_steps.to_number_step,
        2,
        NUMBER,
    ),
    Pipe(
        "round", '["round", 2]', "Round a number, halves away from zero.", number_steps.round_step, 1, AMOUNT
    ),
    _bare("abs", "Absolute value of a number.", on_number("abs", number_steps.absolute), 1, AMOUNT),
    Pipe("multiply", '["multiply", 0.01]', "Multiply.", calculation("multiply", numbers.multiply), 3, AMOUNT),
    Pipe("divide", '["divide", 100]', "Divide.", calculation("divide", numbers.divide), 3, AMOUNT),
    Pipe("add", '["add", -1]', "Add a number.", calculation("add", numbers.add), 3),
    _bare("to_string", "Convert a number or boolean to text.", lambda value, _: text_of(value), 1, ALWAYS),
    _bare("to_bool", "Convert true, yes, 1, on and their opposites to a boolean.", _to_bool),
    Pipe(
        "time",
        '["time", {"formats": ["DD.MM.YYYY HH:mm:ss", "iso"], "zone": "Europe/Berlin"}]',
        "Read a time in one of several formats.",
        time_steps.time_step,
        5,
        TIME,
    ),
    _epoch("epoch_s", 1, "seconds"),
    _epoch("epoch_ms", 1000, "milliseconds"),
    Pipe("date", '"date" or ["date", "YYYYMMDD"]', "Calendar date in UTC.", time_steps.date_step, 4, TIME),
    _text("sha256_lower", "Trim, convert to lower case, and hash with SHA-256 (hex).", _sha256_lower, HASH),
    _bare("first", "First item of a list; a single value is unchanged.", list_steps.first, 1, ALWAYS),
    _bare("last", "Last item of a list; a single value is unchanged.", list_steps.last, 1, ALWAYS),
    Pipe("join", '["join", ", "]', "Join a list of plain values into one text.", list_steps.join_step),
    _bare(
        "count",
        "Number of members of a list.",
        on_list("count", list_steps.count, 0),
        1,
        frozenset({"count", "length"}),
    ),
    _bare("unique", "Remove repeated members of a list.", on_list("unique", list_steps.unique), 1, ALWAYS),
    Pipe(
        "pluck",
        '["pluck", "price"]',
        "Take one value of each member of a list.",
        list_steps.pluck_step,
        shows=ALWAYS,
        reads=list,
    ),
    Pipe(
        "sum",
        '"sum" or ["sum", "price", "quantity", {"decimal": ","}]',
        "Add up numbers, or the product of up to three numbers of each member.",
        list_steps.sum_step,
        shows=NUMBER,
        reads=list,
    ),
    Pipe("min", '"min"', "Smallest number of a list.", extreme("min", min), 1, AMOUNT),
    Pipe("max", '"max"', "Largest number of a list.", extreme("max", max), 1, AMOUNT),
    Pipe(
        WHERE,
        '["where", "category", "in", ["Shoes", "Bags"]]',
        "Keep the members of a list that fulfil a condition.",
        list_steps.where_step,
        reads=lambda arguments: arguments[:1],
    ),
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
    name, arguments = (written, []) if isinstance(written, str) else (None, [])
    if type(written) is list and written and isinstance(written[0], str):
        name, arguments = written[0], written[1:]
    if name is None:
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
