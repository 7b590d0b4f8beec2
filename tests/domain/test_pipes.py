"""Each pipe function does what its row states, and accepts every value."""

import hashlib
import random
from decimal import Decimal
from typing import Any

import pytest

from app.domain.mapping.pipes import PIPES, make_step
from app.domain.mapping.reading import StepProblem
from tests.domain.random_pairs import random_value
from tests.domain.readings import piped
from tests.tables import cases


@cases(
    ("step", "value", "expected"),
    {
        "trim cuts both ends": ("trim", "  a b\t", "a b"),
        "lower": ("lower", "ÄB", "äb"),
        "upper": ("upper", "äb", "ÄB"),
        "digits keeps ASCII digits": ("digits", "+1 (555) 010", "1555010"),
        "digits drops others": ("digits", "٣4", "4"),
        "slug fits custom data": ("slug", " Running Shoes & Më ", "running_shoes_me"),
        "slug with another joint": (["slug", "-"], "A  b", "a-b"),
        "title": ("title", "ada lovelace", "Ada Lovelace"),
        "first of a list": ("first", ["a", "b"], "a"),
        "first of nothing is absent": ("first", [], None),
        "last of a list": ("last", ["a", "b"], "b"),
        "join leaves null out": (["join", ","], ["a", 1, True, None], "a,1,true"),
        "join with a blank": ("join", ["a", "b"], "a b"),
        "join of a single value is the value": ("join", "a", "a"),
        "join takes plain values": ("join", [{"a": 1}], "wrong_type"),
        "split": (["split", ","], "a,b", ["a", "b"]),
        "substring from start up to end": (["substring", 0, 2], "abc", "ab"),
        "substring from the end": (["substring", -2], "abc", "bc"),
        "substring of nothing is absent": (["substring", 5, 2], "abc", None),
        "replace everywhere, literally": (["replace", "a", "b"], "aXa", "bXb"),
        "replace knows no patterns": (["replace", ".*", ""], "a.*b", "ab"),
        "map by text": (["map", {"a": "b"}], "a", "b"),
        "map by a number's text": (["map", {"1": "one", "true": "yes"}], 1, "one"),
        "map by a boolean's text": (["map", {"1": "one", "true": "yes"}], True, "yes"),
        "map leaves the unlisted": (["map", {"a": "b"}], "z", "z"),
        "map serves the unlisted by a star": (["map", {"a": "b", "*": None}], "z", None),
        "map's numbers are exact": (["map", {"a": 1.5}], "a", Decimal("1.5")),
        "round, halves away from zero": (["round", 2], Decimal("2.005"), Decimal("2.01")),
        "round, below zero too": (["round", 2], Decimal("-2.005"), Decimal("-2.01")),
        "round to a whole number": ("round", Decimal("2.5"), 3),
        "round leaves whole numbers": ("round", 7, 7),
        "round long ones": (["round", 2], Decimal("1" * 40 + ".005"), Decimal("1" * 40 + ".01")),
        "abs of long ones": ("abs", Decimal("-" + "1" * 40 + ".5"), Decimal("1" * 40 + ".5")),
        "abs": ("abs", -3, 3),
        "to_string writes plain digits": ("to_string", Decimal("1E+3"), "1000"),
        "to_string keeps zeros": ("to_string", Decimal("1.50"), "1.50"),
        "to_string of a boolean": ("to_string", False, "false"),
        "to_string takes plain values": ("to_string", [1], "wrong_type"),
        "to_bool reads words": ("to_bool", "Yes", True),
        "to_bool reads 0": ("to_bool", 0, False),
        "to_bool reads 1.0 as 1": ("to_bool", Decimal("1.0"), True),
        "map reads 1.0 as 1": (["map", {"1": "one"}], Decimal("1.0"), "one"),
        "to_bool never guesses": ("to_bool", "maybe", "transform_failed"),
        "epoch_s": ("epoch_s", 1767225600, "2026-01-01T00:00:00Z"),
        "epoch_ms": ("epoch_ms", 1767225600123, "2026-01-01T00:00:00.123Z"),
        "epoch_ms of microseconds": ("epoch_ms", 1767225600000000, "transform_failed"),
        "epoch_s of a word": ("epoch_s", "soon", "transform_failed"),
        "epoch_s of a boolean": ("epoch_s", True, "wrong_type"),
        "date in UTC": ("date", "2026-01-01T01:00:00+02:00", "2025-12-31"),
        "date in digits": (["date", "YYYYMMDD"], "2026-01-01T01:00:00Z", "20260101"),
        "date of a year of three digits": ("date", "0999-01-02T00:00:00Z", "0999-01-02"),
        "date takes a whole time": ("date", "2026-01-01", "transform_failed"),
        "sha256_lower of the trimmed text in lower case": (
            "sha256_lower",
            " Ada@Example.com ",
            hashlib.sha256(b"ada@example.com").hexdigest(),
        ),
        "sha256_lower hashes no digest again": ("sha256_lower", "A" * 64, "a" * 64),
        "a text step takes no number": ("lower", 1, "wrong_type"),
        "a number step takes no text": ("round", "1", "wrong_type"),
        "nothing stays nothing": ("lower", None, None),
        "a text of 8,193 characters": ("lower", "a" * 8193, "value_too_long"),
        "even where little of it is taken": (["substring", 0, 1], "a" * 8193, "value_too_long"),
        "a text that grew too long": (["replace", "a", "bb"], "a" * 8000, "value_too_long"),
    },
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
        1,
        None,
        {},
        [],
        ["lower", 1],
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
        ["substring", 0, 1, 2],
        ["substring", 10**9],
        ["map"],
        ["map", {}],
        ["map", {"a": {"b": 1}}],
        ["round", -1],
        ["round", 7],
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


# Letters that Python calls digits, and letters that grow when their case changes.
ODD_TEXTS = ("\u00b23", "\u0661\u0662", "\u2167", "\u0130", "\ufb03", "\ud83d\ude00", "1_0", "0x1F")
FORMS = [written for row in PIPES.values() for written, _ in row.examples]


def any_value(rng: random.Random) -> Any:
    odd = rng.choice(ODD_TEXTS)
    return rng.choice((random_value(rng), odd, {"a": [random_value(rng)]}, {odd: random_value(rng)}))


@pytest.mark.campaign
def test_pipes_are_total() -> None:
    """Any value through any steps gives a value or a failure; and the forms shown to users do compile."""
    rng = random.Random(1)
    for _ in range(10_000):
        value, written = any_value(rng), rng.choices(FORMS, k=rng.randrange(6))
        outcome = piped(value, *written)
        assert isinstance(outcome, str | bool | int | Decimal | list | dict | None), (value, written)


def test_no_step_as_written_makes_it_raise() -> None:
    """Any JSON value is a step or gets a problem."""
    rng = random.Random(1)
    for _ in range(300):
        written = any_value(rng)
        make_step(written)
        make_step(["time", {"formats": written, "zone": written}])
        for name in PIPES:
            make_step([name, written])
            make_step([name, written, written])
