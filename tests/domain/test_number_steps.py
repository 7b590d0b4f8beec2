"""Reading numbers from texts, and exact calculation, clause by clause (interface §4.2)."""

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.conversion.numbers import read_number
from app.domain.mapping.pipes import make_step
from app.domain.mapping.reading import StepProblem
from tests.domain.readings import piped
from tests.tables import cases

# The expected number with decimal comma, and with decimal point; None if the step fails.
TEXTS: list[tuple[str, Any, Any]] = [
    ("5", 5, 5),
    ("19.99", None, "19.99"),
    ("19,99", "19.99", None),
    ("1.234", 1234, "1.234"),
    ("1,234", "1.234", 1234),
    ("1.234,56", "1234.56", None),
    ("1,234.56", None, "1234.56"),
    ("1.234.567,8", "1234567.8", None),
    ("1,234,567.8", None, "1234567.8"),
    ("1 234,56", "1234.56", None),
    ("1 234.56", None, "1234.56"),
    ("1\u00a0234,56", "1234.56", None),
    ("1\u202f234,56", "1234.56", None),
    ("1\u2009234.56", None, "1234.56"),
    ("1'234.56", None, "1234.56"),
    ("1’234,56", "1234.56", None),
    ("1'234’567", None, None),
    ("1.234 567", None, None),
    ("1 234\u00a0567", None, None),
    ("1.2345", None, "1.2345"),
    ("1.23.456", None, None),
    ("1234.567,8", None, None),
    ("1234,567.8", None, None),
    ("0.123", None, "0.123"),
    ("0,123", "0.123", None),
    ("01.234", None, "1.234"),
    ("1,23,456.78", None, "123456.78"),
    ("12,34,567", None, 1234567),
    ("1,23,45", None, None),
    ("1.23.456,78", None, None),
    ("5,-", 5, None),
    ("5,--", 5, None),
    ("1.234,-", 1234, None),
    ("5,50,-", None, None),
    ("5,---", None, None),
    ("5.-", None, None),
    ("-5,50", "-5.50", None),
    ("−5.50", None, "-5.50"),
    ("--5", None, None),
    ("5-", None, None),
    ("(5)", None, None),
    ("5,", None, None),
    (",5", None, None),
    (".5", None, None),
    ("1e3", None, None),
    ("٣", None, None),
    ("", None, None),
    ("EUR", None, None),
    ("5 apples", None, None),
    ("$20", 20, 20),
    ("20$", 20, 20),
    ("$ 20", 20, 20),
    ("20 €", 20, 20),
    ("20\u00a0€", 20, 20),
    ("20  €", None, None),
    ("£1,234.50", None, "1234.50"),
    ("¥500", 500, 500),
    ("₹1,23,456", None, 123456),
    ("12 zł", 12, 12),
    ("R$ 5,50", "5.50", None),
    ("US$5", 5, 5),
    ("Fr. 5", 5, 5),
    ("1'234.50 Fr.", None, "1234.50"),
    ("EUR 5", 5, 5),
    ("5USD", 5, 5),
    ("eur 5", None, None),
    ("XYZ 5", None, None),
    ("$5 USD", None, None),
    ("-$5", -5, -5),
    ("$-5", -5, -5),
    ("-5 €", -5, -5),
    ("-$-5", None, None),
    ("5 5 €", None, None),
    ("9" * 33, None, None),
]


@pytest.mark.parametrize(("text", "comma", "point"), TEXTS, ids=[ascii(row[0])[:30] for row in TEXTS])
def test_amounts_as_they_are_written(text: str, comma: Any, point: Any) -> None:
    """One kind of group sign, groups of three or Indian ones, one currency, one minus sign."""
    for decimal, expected in ((",", comma), (".", point)):
        wanted = "transform_failed" if expected is None else Decimal(expected)
        assert piped(f" {text}\t" if text else "?", ["to_number", decimal]) == wanted, decimal


@pytest.mark.parametrize("step", ["to_number", ["to_number", ","], ["to_number", "."]])
def test_a_json_number_stays_itself(step: Any) -> None:
    for number in (5, Decimal("1.50"), Decimal("1E+3")):
        assert piped(number, step) is number
    assert piped(True, step) == "wrong_type"
    assert piped(["1"], step) == "wrong_type"


def test_bare_to_number_stays_strict() -> None:
    for text in ("1,5", "1 000", "1e3", "$5", "٣", "1'000", "5 €"):
        assert piped(text, "to_number") == "transform_failed"
    assert (piped(" +7.50 ", "to_number"), piped("-7", "to_number")) == (Decimal("7.50"), -7)


@given(st.decimals(0, 10**12, places=2), st.sampled_from([".", " ", "'", "’", "\u202f"]), st.booleans())
def test_every_amount_that_is_written_with_groups_is_read(amount: Decimal, group: str, euro: bool) -> None:
    """With decimal comma, and with decimal point."""
    english = f"{amount:,.2f}"
    german = english.translate(str.maketrans({",": group, ".": ","})) + (" €" if euro else "")
    assert read_number(german, ",") == amount
    if group != ".":
        assert read_number(english.replace(",", group), ".") == amount
    assert read_number(english, ".") == amount


@given(st.text("0123456789.,' ’-−$€eE\u00a0kr", max_size=20))
def test_a_text_has_one_amount(text: str) -> None:
    """What both forms read differs only if the text has one sign with three digits after it."""
    comma, point = read_number(text, ","), read_number(text, ".")
    if comma is not None and point is not None and comma != point:
        assert sum(text.count(sign) for sign in ".,") == 1


@cases(
    ("step", "value", "expected"),
    {
        "cents to units": (["multiply", 0.01], 1999, Decimal("19.99")),
        "units to cents": (["multiply", 100], Decimal("19.99"), Decimal("1999.00")),
        "divide": (["divide", 100], 1999, Decimal("19.99")),
        "12 decimals": (["divide", 3], 1, Decimal("0.333333333333")),
        "rounded up": (["divide", 3], 2, Decimal("0.666666666667")),
        "away from zero": (["divide", -3], 2, Decimal("-0.666666666667")),
        "a half": (["multiply", 0.5], Decimal("0.000000000001"), Decimal("0.000000000001")),
        "below zero": (["multiply", 0.5], Decimal("-0.000000000001"), Decimal("-0.000000000001")),
        "less than a half": (["multiply", 0.4], Decimal("0.000000000001"), Decimal("0E-12")),
        "a quotient that ends": (["divide", 4], 10, Decimal("2.5")),
        "a whole quotient": (["divide", 5], 10, 2),
        "no binary fractions": (["add", 0.2], Decimal("0.1"), Decimal("0.3")),
        "add a negative number": (["add", -1], 5, 4),
        "an exponent": (["multiply", 2], Decimal("1E+3"), 2000),
        "a text operand fails": (["multiply", 2], "5", "wrong_type"),
        "a boolean too": (["add", 1], True, "wrong_type"),
        "a number with too many digits": (["add", 1], 10**41, "transform_failed"),
        "a large result": (["multiply", 999999999999], 10**39, 999999999999 * 10**39),
    },
)
def test_calculation(step: Any, value: Any, expected: Any) -> None:
    outcome = piped(value, step)
    assert outcome == expected
    assert type(outcome) is type(expected)


NUMBERS = st.decimals(-(10**20), 10**20, allow_nan=False, allow_infinity=False) | st.integers(
    -(10**20), 10**20
)
ARGUMENTS = st.decimals(-(10**6), 10**6, places=6) | st.integers(-(10**11), 10**11)


@given(NUMBERS, ARGUMENTS, st.sampled_from(["multiply", "divide", "add"]))
def test_results_are_exact_to_twelve_decimals(number: Any, argument: Any, name: str) -> None:
    """As with fractions, rounded once, halves away from zero."""
    if name == "divide" and argument == 0:
        return
    a, b = Fraction(number), Fraction(argument)
    exact = a * b if name == "multiply" else a + b if name == "add" else a / b
    scaled = abs(exact) * 10**12
    whole = int(scaled + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    with localcontext(prec=100):
        assert piped(number, [name, argument]) == Decimal(whole) / 10**12


@pytest.mark.parametrize(
    "step",
    [
        ["multiply"],
        ["multiply", "2"],
        ["multiply", 1, 2],
        ["multiply", True],
        ["multiply", 10**12],
        ["multiply", 1e-13],
        ["divide", 0],
        ["divide", 0.0],
        ["add", None],
        ["to_number", ";"],
        ["to_number", ",", "."],
        ["to_number", 1],
        ["to_number", None],
        ["to_number", [","]],
    ],
)
def test_steps_that_are_refused(step: Any) -> None:
    assert isinstance(make_step(step), StepProblem)
