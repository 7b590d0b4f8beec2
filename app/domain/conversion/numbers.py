"""Numbers of an event: `int` or `Decimal`, never a float, so that money keeps its exact value."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final, TypeGuard

_PLAIN_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,32}(?:\.[0-9]{1,32})?", re.ASCII)

# Wide enough for any number that the parser accepts; the default context would cut at 28 digits.
_WIDE: Final = Context(prec=10_000)
_UNITS: Final = tuple(Decimal((0, (1,), -places)) for places in range(7))


def is_number(value: Any) -> TypeGuard[int | Decimal]:
    """Return whether a JSON value is a number; booleans are not."""
    return type(value) is int or type(value) is Decimal


def read_number(text: str) -> int | Decimal | None:
    """Parse a plain decimal text without exponent, separators or blanks; None if it is not one."""
    if not _PLAIN_DECIMAL.fullmatch(text):
        return None
    return Decimal(text) if "." in text else int(text)


def number_text(number: int | Decimal) -> str:
    """Format a number as plain digits without exponent, at most about 4,300 characters."""
    return str(number) if type(number) is int else f"{number:f}"


def as_integer(value: Any) -> Any:
    """Return `2.0` as `2`, as Java and Python write it; return any other value unchanged, `1E3` too."""
    if type(value) is Decimal and value.is_finite():
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < 0 and value == value.to_integral_value(context=_WIDE):
            return int(value)
    return value


def rounded(number: int | Decimal, places: int) -> int | Decimal:
    """Round to 0–6 decimals, halves away from zero as for money; 0 decimals give an `int`."""
    if not isinstance(number, Decimal):
        return number
    exact = Decimal.quantize(number, _UNITS[places], ROUND_HALF_UP, _WIDE)
    return int(exact) if places == 0 else exact


def plain(value: Any) -> Any:
    """Convert a constant of a mapping document to the number types of events: some readers return floats."""
    return Decimal(repr(value)) if type(value) is float else value
