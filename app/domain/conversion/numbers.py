"""Read and format the numbers of an event: `int` or `Decimal`, never a float, so that money stays exact."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final, TypeGuard

from app.domain.conversion.failures import SourceFailed, wrong_type

_PLAIN_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,32}(?:\.[0-9]{1,32})?", re.ASCII)

# Precise enough for each number that the JSON parser accepts; the default context keeps only 28 digits.
_WIDE: Final = Context(prec=10_000)
_UNITS: Final = tuple(Decimal((0, (1,), -places)) for places in range(7))


def is_number(value: Any) -> TypeGuard[int | Decimal]:
    """Return whether a JSON value is a number. A boolean is not, although Python's `bool` is an `int`."""
    return type(value) is int or type(value) is Decimal


def read_number(text: str) -> int | Decimal | None:
    """Parse a decimal number without exponent, separators or spaces; return None for any other text."""
    if not _PLAIN_DECIMAL.fullmatch(text):
        return None
    return Decimal(text) if "." in text else int(text)


def number_text(number: int | Decimal) -> str:
    """Format a number without an exponent. The result has at most about 4,300 characters."""
    return str(number) if type(number) is int else f"{number:f}"


def as_text(value: Any) -> str | SourceFailed:
    """Read a text, or a number as its plain digits: `10115.0` is `10115`. Other types are no texts."""
    if isinstance(value, str):
        return value
    value = as_integer(value)
    return number_text(value) if is_number(value) else wrong_type(value, "a text is expected")


def as_integer(value: Any) -> Any:
    """Return a number such as `2.0` as an `int`, and any other value unchanged.

    Java and Python can write a whole number as `2.0`. A number with an exponent, such as `1E3`, is unchanged.
    """
    if type(value) is Decimal and value.is_finite():
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < 0 and value == value.to_integral_value(context=_WIDE):
            return int(value)
    return value


def rounded(number: int | Decimal, places: int) -> int | Decimal:
    """Round a number to 0–6 decimals, halves away from zero. 0 decimals give an `int`."""
    if not isinstance(number, Decimal):
        return number
    exact = Decimal.quantize(number, _UNITS[places], ROUND_HALF_UP, _WIDE)
    return int(exact) if places == 0 else exact


def plain(value: Any) -> Any:
    """Convert a float of a mapping document to `Decimal`, and return any other value unchanged."""
    return Decimal(repr(value)) if type(value) is float else value
