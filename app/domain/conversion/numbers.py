"""Read, calculate and format the numbers of an event: `int` or `Decimal`, never a float, so that money stays
exact."""

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException, Inexact, Overflow
from functools import reduce
from typing import Any, Final, TypeGuard

from app.domain.conversion.amazon_codes import CURRENCIES
from app.domain.mapping.reading import Invented, SourceFailed, wrong_type

_PLAIN_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,32}(?:\.[0-9]{1,32})?", re.ASCII)

# Precise enough for each number that the JSON parser accepts; the default context keeps only 28 digits.
_WIDE: Final = Context(prec=10_000)
_UNITS: Final = tuple(Decimal((0, (1,), -places)) for places in range(13))


def is_number(value: Any) -> TypeGuard[int | Decimal]:
    """Return whether a JSON value is a number. A boolean is not, although Python's `bool` is an `int`."""
    return type(value) is int or type(value) is Decimal


# --- Texts ----------------------------------------------------------------------------------------

# `1.234,56 €` and its like: what stands before the first digit, the digits with their signs, and the rest.
_SPACES: Final = " \u00a0\u202f\u2009"
_PARTS: Final = re.compile(r"([^0-9]*)([0-9](?:[^a-zA-Z]*[0-9])?)([^0-9]*)").fullmatch
_SYMBOLS: Final = (*CURRENCIES, "$", "€", "£", "¥", "₹", "zł", "kr", "R$", "US$", "A$", "C$", "Fr.")
_AFTER: Final = frozenset(space + symbol for symbol in _SYMBOLS for space in ("", *_SPACES)) | {""}
_UNSIGNED: Final = frozenset(symbol + space for symbol in _SYMBOLS for space in ("", *_SPACES))
# For what may stand before the digits: whether it holds a minus sign, which is its first or last character.
_BEFORE: Final[Mapping[str, bool]] = {
    "": False,
    **dict.fromkeys(_UNSIGNED, False),
    **{sign + currency: True for sign in "-−" for currency in ("", *_UNSIGNED)},
    **{currency + sign: True for sign in "-−" for currency in _UNSIGNED},
}


def _digits(groups: str, decimal: str) -> Callable[[str], re.Match[str] | None]:
    """Return a matcher of digits with one kind of group sign. Groups never begin with 0, as in `0.123`."""
    grouped = rf"[1-9][0-9]{{0,2}}(?P<sign>[{groups}{_SPACES}'’])[0-9]{{3}}(?:(?P=sign)[0-9]{{3}}){{0,9}}"
    indian = "|[1-9][0-9]?(?:,[0-9]{2}){1,9},[0-9]{3}" if groups == "," else ""
    return re.compile(rf"({grouped}{indian}|[0-9]{{1,32}})(?:{decimal}([0-9]{{1,32}}))?").fullmatch


# How `to_number` reads a text, by its decimal sign.
_LOCALES: Final = {",": _digits(".", ","), ".": _digits(",", r"\.")}
DECIMAL_SIGNS: Final = tuple(_LOCALES)
_NO_SIGNS: Final = str.maketrans("", "", f".,{_SPACES}'’")


def read_number(text: str, decimal: str | None = None) -> int | Decimal | None:
    """Parse a decimal number, or return None if the text is none.

    Without a `decimal` sign, a number has no exponent, separators or spaces. With the sign "," or ".", it may
    have groups of digits, a minus sign, and a currency before or after it.
    """
    if decimal is None:
        if not _PLAIN_DECIMAL.fullmatch(text):
            return None
        return Decimal(text) if "." in text else int(text)
    parts = _PARTS(text)
    if parts is None:
        return None
    before, digits, after = parts.groups()
    negative, match = _BEFORE.get(before), _LOCALES[decimal](digits)
    if negative is None or match is None:
        return None
    whole, _, decimals = match.groups()
    if decimal == "," and not decimals:
        after = after.removeprefix(",--" if after.startswith(",--") else ",-")
    if after not in _AFTER or (after and before not in ("", "-", "−")):
        return None
    whole = f"-{whole}" if negative else whole
    whole = whole.translate(_NO_SIGNS)
    return Decimal(f"{whole}.{decimals}") if decimals else int(whole)


_NO_NUMBER: Final = SourceFailed("transform_failed", "is not a number in the expected form")


def read_amount(value: Any, decimal: str | None) -> Any:
    """Return a number, or the number in a text; `decimal` is its decimal sign as in `to_number`."""
    if is_number(value):
        return value
    if type(value) is not str:
        if not isinstance(value, Invented) or not value.is_numeric:
            return wrong_type(value, "a number or a text with a number is expected")
        value = str(value)
    number = read_number(value.strip(), decimal)
    return _NO_NUMBER if number is None else number


def number_text(number: int | Decimal) -> str:
    """Format a number without an exponent, a whole one without decimals: `10115.0` is `10115`.

    The result has at most about 4,300 characters.
    """
    number = as_integer(number)
    return str(number) if type(number) is int else f"{number:f}"


def as_text(value: Any) -> str | SourceFailed:
    """Read a text whose characters decide, or a number as its plain digits. Other types are no texts.

    An `Invented` text has no characters that could decide: the result is `UNCLEAR` (`wrong_type`).
    """
    if type(value) is str:
        return value
    return number_text(value) if is_number(value) else wrong_type(value, "a text is expected")


TEXT_EXPECTED: Final = "a text, number or boolean is expected"


def scalar_text(value: Any) -> Any:
    """Read a text, which may be `Invented`, a number or a boolean as a text. Other types are no texts."""
    if isinstance(value, str):
        return value
    if type(value) is bool:
        return "true" if value else "false"
    return number_text(value) if is_number(value) else wrong_type(value, TEXT_EXPECTED)


def as_integer(value: Any) -> Any:
    """Return a number such as `2.0` as an `int`, and any other value unchanged.

    Java and Python can write a whole number as `2.0`. A number with an exponent, such as `1E3`, is unchanged.
    """
    if type(value) is Decimal and value.is_finite():
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < 0 and value == value.to_integral_value(context=_WIDE):
            return int(value)
    return value


def plain(value: Any) -> Any:
    """Convert a float of a mapping document to `Decimal`, and return any other value unchanged."""
    return Decimal(repr(value)) if type(value) is float else value


# --- Calculation ----------------------------------------------------------------------------------

_PLACES: Final = 12  # decimals of a result
# An operand has at most 64 digits and is less than 10^40. Products and sums of operands are then exact.
_OPERAND: Final = Context(prec=64, Emin=-40, Emax=40, traps=[Inexact, Overflow])
_EXACT: Final = Context(prec=600)
# A divisor has at most 24 digits. No quotient is so near to a half that rounding it twice changes the result.
_QUOTIENT: Final = Context(prec=120)
_TOO_MANY_DIGITS: Final = SourceFailed("transform_failed", "has too many digits to calculate with")


def operand(number: int | Decimal) -> Decimal | SourceFailed:
    """Return a number to calculate with, or a failure if it has too many digits."""
    try:
        return _OPERAND.create_decimal(number)
    except DecimalException:
        return _TOO_MANY_DIGITS


def add(*terms: Decimal) -> Decimal:
    return reduce(_EXACT.add, terms)


multiply: Final = _EXACT.multiply
divide: Final = _QUOTIENT.divide


def result(number: Decimal) -> int | Decimal:
    """Return the result of a calculation, rounded to 12 decimals if it has more, halves away from zero."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent >= 0:
        return int(number)
    return number if exponent >= -_PLACES else number.quantize(_UNITS[_PLACES], ROUND_HALF_UP, _WIDE)


def rounded(number: int | Decimal, places: int) -> int | Decimal:
    """Round a number to 0–6 decimals, halves away from zero. 0 decimals give an `int`."""
    if not isinstance(number, Decimal):
        return number
    exact = Decimal.quantize(number, _UNITS[places], ROUND_HALF_UP, _WIDE)
    return int(exact) if places == 0 else exact
