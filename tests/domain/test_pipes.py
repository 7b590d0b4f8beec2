"""Each pipe function does what its row states, and accepts every value."""

import hashlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.conversion.failures import SourceFailed
from app.domain.mapping.pipes import PIPES, make_step, run
from app.domain.mapping.reading import Reading
from app.domain.mapping.steps import StepProblem


def piped(value: Any, *written: Any) -> Any:
    """Pass a value through steps as a mapping writes them; a failure shows as its reason."""
    steps = [make_step(step) for step in written]
    assert not any(isinstance(step, StepProblem) for step in steps), steps
    outcome = run(tuple(steps), value, Reading())  # type: ignore[arg-type]
    return outcome.reason if isinstance(outcome, SourceFailed) else outcome


@pytest.mark.parametrize(
    ("step", "value", "expected"),
    [
        pytest.param("trim", "  a b\t", "a b", id="trim cuts both ends"),
        pytest.param("lower", "ÄB", "äb", id="lower"),
        pytest.param("upper", "äb", "ÄB", id="upper"),
        pytest.param("digits", "+1 (555) 010", "1555010", id="digits keeps ASCII digits"),
        pytest.param("digits", "٣4", "4", id="digits drops others"),
        pytest.param("slug", " Running Shoes & Më ", "running_shoes_me", id="slug fits custom data"),
        pytest.param(["slug", "-"], "A  b", "a-b", id="slug with another joint"),
        pytest.param("title", "ada lovelace", "Ada Lovelace", id="title"),
        pytest.param("first", ["a", "b"], "a", id="first of a list"),
        pytest.param("first", [], None, id="first of nothing is absent"),
        pytest.param("first", "a", "a", id="first of a single value is the value"),
        pytest.param("last", ["a", "b"], "b", id="last of a list"),
        pytest.param(["join", ","], ["a", 1, True, None], "a,1,true", id="join leaves null out"),
        pytest.param("join", ["a", "b"], "a b", id="join with a blank"),
        pytest.param("join", "a", "a", id="join of a single value is the value"),
        pytest.param("join", [{"a": 1}], "wrong_type", id="join takes plain values"),
        pytest.param(["split", ","], "a,b", ["a", "b"], id="split"),
        pytest.param(["substring", 0, 2], "abc", "ab", id="substring from start up to end"),
        pytest.param(["substring", -2], "abc", "bc", id="substring from the end"),
        pytest.param(["substring", 5, 2], "abc", "", id="substring of nothing"),
        pytest.param(["replace", "a", "b"], "aXa", "bXb", id="replace everywhere, literally"),
        pytest.param(["replace", ".*", ""], "a.*b", "ab", id="replace knows no patterns"),
        pytest.param(["map", {"a": "b"}], "a", "b", id="map by text"),
        pytest.param(["map", {"1": "one", "true": "yes"}], 1, "one", id="map by a number's text"),
        pytest.param(["map", {"1": "one", "true": "yes"}], True, "yes", id="map by a boolean's text"),
        pytest.param(["map", {"a": "b"}], "z", "z", id="map leaves the unlisted"),
        pytest.param(["map", {"a": "b", "*": None}], "z", None, id="map serves the unlisted by a star"),
        pytest.param(["map", {"a": 1.5}], "a", Decimal("1.5"), id="map's numbers are exact"),
        pytest.param(["round", 2], Decimal("2.005"), Decimal("2.01"), id="round, halves away from zero"),
        pytest.param(["round", 2], Decimal("-2.005"), Decimal("-2.01"), id="round, below zero too"),
        pytest.param("round", Decimal("2.5"), 3, id="round to a whole number"),
        pytest.param("round", 7, 7, id="round leaves whole numbers"),
        pytest.param(
            ["round", 2], Decimal("1" * 40 + ".005"), Decimal("1" * 40 + ".01"), id="round long ones"
        ),
        pytest.param("abs", Decimal("-" + "1" * 40 + ".5"), Decimal("1" * 40 + ".5"), id="abs of long ones"),
        pytest.param("abs", -3, 3, id="abs"),
        pytest.param("to_string", Decimal("1E+3"), "1000", id="to_string writes plain digits"),
        pytest.param("to_string", Decimal("1.50"), "1.50", id="to_string keeps zeros"),
        pytest.param("to_string", False, "false", id="to_string of a boolean"),
        pytest.param("to_string", [1], "wrong_type", id="to_string takes plain values"),
        pytest.param("to_bool", "Yes", True, id="to_bool reads words"),
        pytest.param("to_bool", 0, False, id="to_bool reads 0"),
        pytest.param("to_bool", Decimal("1.0"), True, id="to_bool reads 1.0 as 1"),
        pytest.param(["map", {"1": "one"}], Decimal("1.0"), "one", id="map reads 1.0 as 1"),
        pytest.param("to_bool", "maybe", "transform_failed", id="to_bool never guesses"),
        pytest.param("epoch_s", 1767225600, "2026-01-01T00:00:00Z", id="epoch_s"),
        pytest.param("epoch_s", "1767225600", "2026-01-01T00:00:00Z", id="epoch_s of digits"),
        pytest.param("epoch_ms", 1767225600123, "2026-01-01T00:00:00.123Z", id="epoch_ms"),
        pytest.param("epoch_ms", 1767225600000000, "transform_failed", id="epoch_ms of microseconds"),
        pytest.param("date", "2026-01-01T01:00:00+02:00", "2025-12-31", id="date in UTC"),
        pytest.param(["date", "YYYYMMDD"], "2026-01-01T01:00:00Z", "20260101", id="date in digits"),
        pytest.param("date", "2026-01-01", "transform_failed", id="date takes a whole time"),
        pytest.param(
            "sha256_lower",
            " Ada@Example.com ",
            hashlib.sha256(b"ada@example.com").hexdigest(),
            id="sha256_lower of the trimmed text in lower case",
        ),
        pytest.param("sha256_lower", "A" * 64, "a" * 64, id="sha256_lower hashes no digest again"),
        pytest.param("lower", 1, "wrong_type", id="a text step takes no number"),
        pytest.param("trim", ["a"], "wrong_type", id="a text step takes no list"),
        pytest.param("round", "1", "wrong_type", id="a number step takes no text"),
        pytest.param("abs", True, "wrong_type", id="a number step takes no boolean"),
        pytest.param("lower", None, None, id="nothing stays nothing"),
        pytest.param("lower", "a" * 8193, "value_too_long", id="a text of 8,193 characters"),
        pytest.param(
            ["substring", 0, 1], "a" * 8193, "value_too_long", id="even where little of it is taken"
        ),
        pytest.param(["replace", "a", "bb"], "a" * 8000, "value_too_long", id="a text that grew too long"),
    ],
)
def test_steps(step: Any, value: Any, expected: Any) -> None:
    """One step, one value."""
    outcome = piped(value, step)
    assert outcome == expected
    assert type(outcome) is type(expected)


def test_steps_run_in_order() -> None:
    """Each step takes what the one before gave, and the first failure ends the pipe."""
    assert piped(" A,B ", "trim", "lower", ["split", ","], "last") == "b"
    assert piped(" x ", "trim", "to_number", "abs") == "transform_failed"


@pytest.mark.parametrize(
    "written",
    [
        "eval",
        "",
        "LOWER",
        1,
        None,
        {},
        [],
        ["lower", 1],
        [1],
        [["lower"]],
        ["replace"],
        ["replace", "", "b"],
        ["replace", "a", 1],
        ["replace", "a", "b" * 65],
        ["split"],
        ["split", ""],
        ["split", "x" * 17],
        ["join", 1],
        ["substring"],
        ["substring", "0"],
        ["substring", True],
        ["substring", 0, 1, 2],
        ["substring", 10**9],
        ["map"],
        ["map", {}],
        ["map", "a"],
        ["map", {"a": []}],
        ["map", {"a": {"b": 1}}],
        ["round", -1],
        ["round", 7],
        ["round", True],
        ["round", 1, 2],
        ["date", "%Y"],
        ["date", []],
        ["slug", "x"],
        ["regex", "^(a+)+$"],
    ],
)
def test_steps_that_do_not_exist(written: Any) -> None:
    """A step that is unknown or has other arguments is refused when the mapping is saved, with a sentence."""
    assert isinstance(make_step(written), StepProblem)


def test_every_function_of_the_interface_is_there() -> None:
    """The published list of functions, no more and no less."""
    listed = (
        "trim lower upper digits slug title first last join split substring replace map round abs to_number "
        "to_string to_bool epoch_s epoch_ms date sha256_lower "
        "count unique pluck sum min max where multiply divide add time"
    )
    assert set(PIPES) == set(listed.split())


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
STEPS = st.sampled_from([written for row in PIPES.values() for written, _ in row.examples])


@pytest.mark.campaign
@settings(max_examples=600)
@given(VALUES, st.lists(STEPS, max_size=5))
def test_pipes_are_total(value: Any, written: list[Any]) -> None:
    """Any value through any steps gives a value or a failure; and the forms shown to users do compile."""
    outcome = piped(value, *written)
    assert outcome is None or isinstance(outcome, str | bool | int | Decimal | list | dict)


@given(VALUES)
def test_no_step_as_written_makes_it_raise(written: Any) -> None:
    """Any JSON value is a step or gets a problem."""
    make_step(written)
    make_step(["map", written])
    make_step(["date", written])
    make_step(["time", written])
    make_step(["time", {"formats": written, "zone": written}])
    for name in PIPES:
        make_step([name, written, written])
