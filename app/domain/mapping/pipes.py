"""Pipe functions: named steps that change a value of the event before it becomes a field of the Amazon event.

A step takes any JSON value, never raises, and runs in time linear in its input. It returns a value or
`SourceFailed`. The reason is `wrong_type` for a value of another JSON type, and `transform_failed` for a
value that the step cannot read.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion import timestamps
from app.domain.conversion.failures import SourceFailed, wrong_type
from app.domain.conversion.numbers import as_integer, is_number, number_text, plain, read_number, rounded

MAX_PIPE_STEPS: Final = 16
MAX_PIPED_TEXT: Final = 8192  # characters of a text before and after each step

Step = Callable[[Any], Any]
# Takes the arguments of a pipe function. Returns its step, or the problem of the arguments.
Maker = Callable[[list[Any]], "Step | str"]


@dataclass(frozen=True, slots=True)
class Pipe:
    """A pipe function. `form` is an example of its use, `help` its explanation, and `make` creates a step."""

    name: str
    form: str
    help: str
    make: Maker


def _unreadable(what: str) -> SourceFailed:
    return SourceFailed("transform_failed", what)


def _on_text(name: str, shape: Callable[[str], Any]) -> Step:
    def step(value: Any) -> Any:
        if type(value) is not str:
            return wrong_type(value, f"the pipe's {name} takes a text")
        if len(value) > MAX_PIPED_TEXT:
            return SourceFailed(
                "value_too_long", f"has more than the {MAX_PIPED_TEXT:,} characters that a pipe accepts"
            )
        return shape(value)

    return step


def _on_number(name: str, shape: Callable[[int | Decimal], Any]) -> Step:
    def step(value: Any) -> Any:
        if not is_number(value):
            return wrong_type(value, f"the pipe's {name} takes a number")
        return shape(value)

    return step


def _plain(step: Step) -> Maker:
    """Return the `make` of a pipe function without arguments."""
    return lambda arguments: step if not arguments else "takes no argument"


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

    return _on_text("slug", shape)


def _first(value: Any) -> Any:
    return (value[0] if value else None) if type(value) is list else value


def _last(value: Any) -> Any:
    return (value[-1] if value else None) if type(value) is list else value


def _join(arguments: list[Any]) -> Step | str:
    if len(arguments) > 1 or not all(isinstance(a, str) and len(a) <= 16 for a in arguments):
        return "takes at most one argument, a text of at most 16 characters"
    joint = arguments[0] if arguments else " "

    def step(value: Any) -> Any:
        if type(value) is not list:
            return value
        parts = [_text_of(part) for part in value if part is not None]
        if any(isinstance(part, SourceFailed) for part in parts):
            return SourceFailed(
                "wrong_type", "is a list with lists or objects, which the pipe's join does not accept"
            )
        return joint.join(parts)

    return step


def _split(arguments: list[Any]) -> Step | str:
    if len(arguments) != 1 or not isinstance(arguments[0], str) or not 1 <= len(arguments[0]) <= 16:
        return "takes one argument, a text of 1 to 16 characters"
    return _on_text("split", lambda text: text.split(arguments[0]))


def _substring(arguments: list[Any]) -> Step | str:
    integers = all(type(a) is int and -MAX_PIPED_TEXT <= a <= MAX_PIPED_TEXT for a in arguments)
    if not integers or len(arguments) not in (1, 2):
        return "takes a start and an optional end, whole numbers; negative ones count from the end"
    cut = slice(arguments[0], arguments[1] if len(arguments) == 2 else None)
    return _on_text("substring", lambda text: text[cut])


def _replace(arguments: list[Any]) -> Step | str:
    texts = len(arguments) == 2 and all(isinstance(a, str) and len(a) <= 64 for a in arguments)
    if not texts or not arguments[0]:
        return "takes two texts of at most 64 characters: the text to find, not empty, and its replacement"
    return _on_text("replace", lambda text: text.replace(arguments[0], arguments[1]))


def _map(arguments: list[Any]) -> Step | str:
    table = arguments[0] if len(arguments) == 1 else None
    if type(table) is not dict or not 1 <= len(table) <= 200:
        return "takes one argument, an object of 1 to 200 members"
    rows = {key: plain(v) for key, v in table.items()}
    if not all(v is None or isinstance(v, str | int | Decimal) for v in rows.values()):
        return "takes an object whose values are texts, numbers, booleans or null"

    def step(value: Any) -> Any:
        text = _text_of(as_integer(value))
        if isinstance(text, SourceFailed):
            return wrong_type(value, "the pipe's map takes a text, number or boolean")
        return rows.get(text, rows.get("*", value))

    return step


def _round(arguments: list[Any]) -> Step | str:
    places = arguments[0] if arguments else 0
    if len(arguments) > 1 or type(places) is not int or not 0 <= places <= 6:
        return "takes the number of decimals, 0 to 6"
    return _on_number("round", lambda number: rounded(number, places))


def _abs(number: int | Decimal) -> int | Decimal:
    # `abs` would round a Decimal to 28 digits.
    return abs(number) if type(number) is int else Decimal(number).copy_abs()


def _text_of(value: Any) -> Any:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return number_text(value)
        case _:
            return wrong_type(value, "a text, number or boolean is expected")


def _to_number(value: Any) -> Any:
    if is_number(value):
        return value
    if type(value) is not str:
        return wrong_type(value, "the pipe's to_number takes a text or number")
    number = read_number(value.strip())
    return _unreadable("is not a plain decimal number") if number is None else number


# The words that Amazon's tag template accepts, except those for consent only.
_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "1", "on", "enabled"), True),
    **dict.fromkeys(("false", "no", "0", "off", "disabled"), False),
}


def _to_bool(value: Any) -> Any:
    text = _text_of(as_integer(value))
    if isinstance(text, SourceFailed):
        return text
    truth = _BOOLEANS.get(text.strip().lower())
    return _unreadable("is not a value that the pipe's to_bool accepts") if truth is None else truth


def _epoch(per_second: int, unit: str) -> Step:
    def step(value: Any) -> Any:
        number = _to_number(value)
        if isinstance(number, SourceFailed):
            return number
        text = timestamps.from_epoch(number, per_second=per_second)
        return _unreadable(f"is not a time in epoch {unit} between 1970 and 2286") if text is None else text

    return step


_DATE_FORMS: Final = {"YYYY-MM-DD": "%Y-%m-%d", "YYYY_MM_DD": "%Y_%m_%d", "YYYYMMDD": "%Y%m%d"}


def _date(arguments: list[Any]) -> Step | str:
    form = arguments[0] if arguments else "YYYY-MM-DD"
    if len(arguments) > 1 or not isinstance(form, str) or form not in _DATE_FORMS:
        return f"takes one of {', '.join(_DATE_FORMS)}"

    def shape(text: str) -> Any:
        moment = timestamps.read_time(text)
        if moment is None:
            return _unreadable("is not an ISO 8601 time with a zone")
        return moment.at.strftime(_DATE_FORMS[form])

    return _on_text("date", shape)


def _sha256_lower(text: str) -> str:
    word = text.strip().lower()
    # A text that is already a digest is not hashed again (P8).
    return word if _DIGEST.fullmatch(word) else hashlib.sha256(word.encode("utf-8", "replace")).hexdigest()


_ROWS: Final = (
    Pipe("trim", '"trim"', "Remove white space at both ends.", _plain(_on_text("trim", str.strip))),
    Pipe("lower", '"lower"', "Convert to lower case.", _plain(_on_text("lower", str.lower))),
    Pipe("upper", '"upper"', "Convert to upper case.", _plain(_on_text("upper", str.upper))),
    Pipe(
        "digits",
        '"digits"',
        "Keep only 0 to 9.",
        _plain(_on_text("digits", lambda text: _NOT_DIGITS.sub("", text))),
    ),
    Pipe(
        "slug",
        '"slug" or ["slug", "-"]',
        "Lower case without accents; words joined with _ or another character.",
        _slug,
    ),
    Pipe("title", '"title"', "Capitalise each word.", _plain(_on_text("title", str.title))),
    Pipe("first", '"first"', "First item of a list; a single value is unchanged.", _plain(_first)),
    Pipe("last", '"last"', "Last item of a list; a single value is unchanged.", _plain(_last)),
    Pipe("join", '["join", ", "]', "Join a list of plain values into one text.", _join),
    Pipe("split", '["split", ","]', "Split a text into a list.", _split),
    Pipe("substring", '["substring", 0, 5]', "Keep the characters from start to end.", _substring),
    Pipe("replace", '["replace", "a", "b"]', "Replace every occurrence of a text.", _replace),
    Pipe("map", '["map", {"a": "b", "*": "c"}]', 'Map values to other values; "*" matches all others.', _map),
    Pipe("round", '["round", 2]', "Round a number, halves away from zero.", _round),
    Pipe("abs", '"abs"', "Absolute value of a number.", _plain(_on_number("abs", _abs))),
    Pipe("to_number", '"to_number"', "Convert a decimal text to a number.", _plain(_to_number)),
    Pipe("to_string", '"to_string"', "Convert a number or boolean to text.", _plain(_text_of)),
    Pipe(
        "to_bool",
        '"to_bool"',
        "Convert true, yes, 1, on and their opposites to a boolean.",
        _plain(_to_bool),
    ),
    Pipe("epoch_s", '"epoch_s"', "Read seconds since 1970 as a time.", _plain(_epoch(1, "seconds"))),
    Pipe(
        "epoch_ms",
        '"epoch_ms"',
        "Read milliseconds since 1970 as a time.",
        _plain(_epoch(1000, "milliseconds")),
    ),
    Pipe("date", '"date" or ["date", "YYYYMMDD"]', "Calendar date of a time in UTC.", _date),
    Pipe(
        "sha256_lower",
        '"sha256_lower"',
        "Trim, convert to lower case, and hash with SHA-256 (hex).",
        _plain(_on_text("sha256_lower", _sha256_lower)),
    ),
)

PIPES: Final[Mapping[str, Pipe]] = {row.name: row for row in _ROWS}


def make_step(written: Any) -> Step | str:
    """Compile a step such as `"lower"` or `["replace", "a", "b"]`, or return its problem as a sentence."""
    name, arguments = (written, []) if isinstance(written, str) else (None, [])
    if type(written) is list and written and isinstance(written[0], str):
        name, arguments = written[0], written[1:]
    if name is None:
        return 'A pipe step is a name such as "trim", or a list such as ["replace", "a", "b"].'
    row = PIPES.get(name)
    if row is None:
        return f"No pipe function has this name. The functions are {', '.join(PIPES)}."
    step = row.make(arguments)
    return f"{name} {step}." if isinstance(step, str) else step


def run(steps: tuple[Step, ...], value: Any) -> Any:
    """Apply the steps in order. Stop at the first result that is None or `SourceFailed`, and return it."""
    for step in steps:
        if value is None:
            return None
        value = step(value)
        if type(value) is SourceFailed:
            return value
        if type(value) is str and len(value) > MAX_PIPED_TEXT:
            return SourceFailed(
                "value_too_long", f"has more than the {MAX_PIPED_TEXT:,} characters that a pipe may return"
            )
    return value
