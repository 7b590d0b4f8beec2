"""The pipe functions for numbers: reading, rounding, and exact calculation with a constant."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion import numbers
from app.domain.conversion.failures import characters, wrong_type
from app.domain.conversion.numbers import is_number, plain
from app.domain.mapping.reading import Reading
from app.domain.mapping.steps import Maker, Step, on_number, unreadable

TOO_LONG: Final = unreadable("has too many digits to calculate with")
_MAX_DIGITS: Final = 12  # of the argument of a calculation, before and after the point


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


def to_number_step(arguments: list[Any]) -> Step | str:
    decimal = arguments[0] if arguments else None
    if len(arguments) > 1 or (arguments and decimal not in numbers.DECIMAL_SIGNS):
        return 'takes the decimal sign "," or "."'

    def step(value: Any, reading: Reading) -> Any:
        return read_amount(value, decimal)

    return step


def calculation(name: str, calculate: Callable[[Decimal, Decimal], Decimal]) -> Maker:
    """Return the `make` of a function that calculates with its argument, exact to 12 decimals."""

    def compile_step(arguments: list[Any]) -> Step | str:
        argument = plain(arguments[0]) if len(arguments) == 1 else None
        if not is_number(argument) or not _has_few_digits(argument):
            return f"takes a number with at most {_MAX_DIGITS} digits before and after the point"
        if name == "divide" and argument == 0:
            return "takes a number other than 0"
        constant = Decimal(argument)

        def shape(number: int | Decimal) -> Any:
            operand = numbers.operand(number)
            return TOO_LONG if operand is None else numbers.result(calculate(operand, constant))

        return on_number(name, shape)

    return compile_step


def _has_few_digits(number: int | Decimal) -> bool:
    exact = Decimal(number)
    return abs(exact) < 10**_MAX_DIGITS and numbers.result(exact) == exact


def round_step(arguments: list[Any]) -> Step | str:
    places = arguments[0] if arguments else 0
    if len(arguments) > 1 or type(places) is not int or not 0 <= places <= 6:
        return "takes the number of decimals, 0 to 6"
    return on_number("round", lambda number: numbers.rounded(number, places))


def absolute(number: int | Decimal) -> int | Decimal:
    # `abs` would round a Decimal to 28 digits.
    return abs(number) if type(number) is int else Decimal(number).copy_abs()
