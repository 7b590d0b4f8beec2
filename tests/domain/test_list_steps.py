"""Paths with `[*]` and `[-1]`, and the pipe functions for lists, clause by clause (interface §4.1, §4.2)."""

from decimal import Decimal
from typing import Any

import pytest

from app.domain.mapping.pipes import make_step
from app.domain.mapping.reading import MAX_MEMBERS, OVER_BUDGET, Reading
from app.domain.mapping.steps import StepProblem
from tests.domain.readings import piped, read, read_with_notes

LINES = [{"price": "10.50", "quantity": 2}, {"price": 3, "quantity": "3"}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("list[*].a", [1, 2], id="each member that has one, in order"),
        pytest.param("list[*]", [{"a": 1}, {"a": None}, {"b": 1}, {"a": " "}, {"a": 2}], id="whole members"),
        pytest.param("nested[*].inner[*].a", [1, 2, 3], id="two give one flat list"),
        pytest.param("nested[*].inner", [[{"a": 1}, {"a": 2}], {"a": 3}], id="one leaves lists in the list"),
        pytest.param("object[*].a", [5], id="an object is a list of one"),
        pytest.param("list[-1].a", 2, id="the last member"),
        pytest.param("pairs[*][-1]", [2, 3], id="the last of each"),
        pytest.param("list[*].x", None, id="no members found"),
        pytest.param("empty[*].x", None, id="an empty list"),
        pytest.param("empty[-1].x", None, id="the last of an empty list"),
        pytest.param("nothing[*].x", None, id="an absent list"),
        pytest.param("null[*]", None, id="null"),
        pytest.param("text[*]", "wrong_type", id="a text"),
        pytest.param("number[*]", "wrong_type", id="a number"),
        pytest.param("true[*]", "wrong_type", id="a boolean"),
        pytest.param("texts[*].a", "wrong_type", id="a member without members"),
        pytest.param("object[-1]", "wrong_type", id="the last of an object"),
    ],
)
def test_paths_over_lists(path: str, value: Any) -> None:
    content = {
        "list": [{"a": 1}, {"a": None}, {"b": 1}, {"a": " "}, {"a": 2}],
        "nested": [{"inner": [{"a": 1}, {"a": 2}]}, {"inner": {"a": 3}}],
        "object": {"a": 5},
        "pairs": [[1, 2], [], [3]],
        "empty": [],
        "null": None,
        "text": "t",
        "number": 1,
        "true": True,
        "texts": ["t"],
    }
    assert read(path, content) == value


@pytest.mark.parametrize(
    ("step", "value", "expected"),
    [
        pytest.param("count", [1, None, {}], 3, id="count"),
        pytest.param("count", [], 0, id="count of an empty list"),
        pytest.param("count", {"a": 1}, 1, id="an object counts as a list of one"),
        pytest.param("unique", ["b", "a", "b"], ["b", "a"], id="the first of equal members stays"),
        pytest.param(
            "unique", [1, Decimal("1.0"), "1", True], [1, "1", True], id="numbers by amount, no others"
        ),
        pytest.param(
            "unique", [{"a": 1}, {"a": Decimal("1.00")}, {"a": "1"}], [{"a": 1}, {"a": "1"}], id="deep"
        ),
        pytest.param("unique", [[1, [2]], [1, [2]], [1, 2]], [[1, [2]], [1, 2]], id="lists of lists"),
        pytest.param("unique", [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"a": 1, "b": 2}], id="in any order"),
        pytest.param("unique", [None, None], [None], id="null is a member"),
        pytest.param(["pluck", "a"], [{"a": 1}, {}, {"a": None}, {"a": ""}, {"a": 2}], [1, 2], id="pluck"),
        pytest.param(["pluck", "a.b[0]"], [{"a": {"b": [7]}}], [7], id="pluck by a path"),
        pytest.param(["pluck", "a[*].b"], [{"a": [{"b": 1}, {"b": 2}]}], [1, 2], id="pluck a list of each"),
        pytest.param(["pluck", "a"], ["t"], "wrong_type", id="pluck of a text"),
        pytest.param(["pluck", "a"], {"a": 1}, [1], id="pluck of an object"),
        pytest.param("sum", [1, "2.5", Decimal("0.1")], Decimal("3.6"), id="sum of numbers and texts"),
        pytest.param("sum", [], None, id="sum of an empty list"),
        pytest.param("sum", [1, "x"], "transform_failed", id="sum with what is no number"),
        pytest.param("sum", [1, True], "wrong_type", id="sum with a boolean"),
        pytest.param("sum", [1, None], "transform_failed", id="sum with null"),
        pytest.param("sum", ["1,5"], "transform_failed", id="texts are read as bare to_number reads them"),
        pytest.param(["sum", {"decimal": ","}], ["1.234,5", "€ 1"], Decimal("1235.5"), id="or in a form"),
        pytest.param(["sum", "price", "quantity"], LINES, Decimal("30.00"), id="the sum of products"),
        pytest.param(["sum", "quantity"], LINES, 5, id="the sum of one member"),
        pytest.param(["sum", "a", "b", "c"], [{"a": 2, "b": 3, "c": 4}, {"a": 1}], 25, id="three factors"),
        pytest.param(["sum", "p.amount"], [{"p": {"amount": 4}}], 4, id="a path in each member"),
        pytest.param(["sum", "price"], {"price": 4}, 4, id="of an object"),
        pytest.param(["sum", "price"], [{"price": 0, "x": 1}], 0, id="zero is a number"),
        pytest.param(["sum", "price"], [{"x": 1}], "transform_failed", id="without the first number"),
        pytest.param(["sum", "price"], [{"price": " "}], "transform_failed", id="blank is without"),
        pytest.param(["sum", "price", {"missing": "skip"}], [{"x": 1}], None, id="all are left out"),
        pytest.param(["sum", "price"], ["t"], "wrong_type", id="a member without members"),
        pytest.param(["sum", "price"], [{"price": 10**41}], "transform_failed", id="too large to calculate"),
        pytest.param(
            ["sum", "price", {"missing": "skip"}], [{"price": "x"}], "transform_failed", id="not skipped"
        ),
        pytest.param("min", [3, "2", Decimal("2.5")], 2, id="min"),
        pytest.param("max", [3, "20", Decimal("2.5")], 20, id="max"),
        pytest.param(["max", {"decimal": ","}], ["1.000,5", 7], Decimal("1000.5"), id="max in a form"),
        pytest.param("min", [], None, id="min of an empty list"),
        pytest.param("max", ["x"], "transform_failed", id="max of what is no number"),
        pytest.param(["join", ","], [], None, id="join of an empty list"),
        pytest.param("count", "t", "wrong_type", id="a text is no list"),
        pytest.param("sum", 5, "wrong_type", id="a number is no list"),
        pytest.param("unique", True, "wrong_type", id="a boolean is no list"),
        pytest.param("max", None, None, id="no value stays no value"),
        pytest.param("lower", ["A"], "wrong_type", id="a step for one value on a list"),
        pytest.param("to_number", ["1"], "wrong_type", id="a list is no number"),
        pytest.param("first", "t", "t", id="first stays as it is"),
        pytest.param("last", [1, 2], 2, id="last too"),
    ],
)
def test_list_steps(step: Any, value: Any, expected: Any) -> None:
    outcome = piped(value, step)
    assert outcome == expected
    assert type(outcome) is type(expected)


ROWS = [
    {"id": 1, "kind": "a", "price": "19.90", "tags": ["x", "y"]},
    {"id": 2, "kind": "A", "price": Decimal("19.9"), "tags": []},
    {"id": 3, "kind": None, "price": "n/a", "flag": True},
    {"id": 4, "kind": " ", "price": 30, "tags": "x"},
]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        pytest.param(["kind", "is", "a"], [1], id="texts are equal exactly"),
        pytest.param(["kind", "is_not", "a"], [2, 3, 4], id="is_not holds for an absent value"),
        pytest.param(["kind", "in", ["a", "A"]], [1, 2], id="in"),
        pytest.param(["kind", "not_in", ["a", "A"]], [3, 4], id="not_in holds for an absent value"),
        pytest.param(["price", "is", 19.9], [1, 2], id="numbers and decimal texts are equal by amount"),
        pytest.param(["price", "is", "19.90"], [1, 2], id="whichever of them is the text"),
        pytest.param(["price", "is", "19.9"], [2], id="but two texts exactly"),
        pytest.param(["price", "in", [30, "n/a"]], [3, 4], id="in with values of two types"),
        pytest.param(["tags", "is", "x"], [1, 4], id="one equal member of a list suffices"),
        pytest.param(["tags", "is_not", "x"], [2, 3], id="and then it is not another"),
        pytest.param(["flag", "is", True], [3], id="a boolean"),
        pytest.param(["flag", "is", "true"], [], id="a boolean is no text"),
        pytest.param(["id", "is", True], [], id="and no number"),
        pytest.param(["price", "above", 19.9], [4], id="above"),
        pytest.param(["price", "below", 20], [1, 2], id="below; an unreadable value is neither"),
        pytest.param(["kind", "present"], [1, 2], id="present: neither null nor blank"),
        pytest.param(["kind", "absent"], [3, 4], id="absent"),
        pytest.param(["kind.x", "absent"], [1, 2, 3, 4], id="a path that the member does not have"),
    ],
)
def test_where(where: list[Any], ids: list[int]) -> None:
    assert piped(ROWS, ["where", *where], ["pluck", "id"]) == ids


def test_where_without_members_left() -> None:
    """An empty list can be counted, and has no sum."""
    assert piped(ROWS, ["where", "id", "is", 9], "count") == 0
    assert piped(ROWS, ["where", "id", "is", 9], ["sum", "id"]) is None


@pytest.mark.parametrize(
    "step",
    [
        ["count", 1],
        ["unique", "a"],
        ["pluck"],
        ["pluck", "a..b"],
        ["pluck", 1],
        ["sum", "a", "b", "c", "d"],
        ["sum", "a[*]"],
        ["sum", 1],
        ["sum", {"decimal": ";"}],
        ["sum", {"missing": "zero"}],
        ["sum", {"other": 1}],
        ["sum", {"decimal": ","}, "a"],
        ["min", "a"],
        ["max", {"missing": "skip"}],
        ["where"],
        ["where", "a"],
        ["where", "a", "like", "x"],
        ["where", "a", "is"],
        ["where", "a", "is", None],
        ["where", "a", "is", ["x"]],
        ["where", "a", "in", []],
        ["where", "a", "in", ["x"] * 51],
        ["where", "a", "in", "x"],
        ["where", "a", "in", [["x"]]],
        ["where", "a", "above", "5"],
        ["where", "a", "above", True],
        ["where", "a", "present", 1],
        ["where", "a b", "is", "x"],
    ],
)
def test_steps_that_are_refused(step: Any) -> None:
    problem = make_step(step)
    assert isinstance(problem, StepProblem)
    assert problem.code == "pipe_invalid"


def test_an_incomplete_member_is_noted_once() -> None:
    """A lacking later number counts as 1."""
    lines = [{"price": 2}, {"price": 3, "quantity": None}, {"price": 4, "quantity": 2}]
    source = {"path": "lines", "pipe": [["sum", "price", "quantity"]]}
    assert read_with_notes(source, {"lines": lines}) == (13, ["item_incomplete"])


def test_a_skipped_member_is_noted_once() -> None:
    lines = [{"price": 2}, {}, {"price": None}, None]
    source = {"path": "lines", "pipe": [["sum", "price", {"missing": "skip"}]]}
    assert read_with_notes(source, {"lines": lines}) == (2, ["item_skipped"])


def test_an_event_has_a_limit_of_list_members() -> None:
    """A list that several fields read counts its members once."""
    allowed = {"lines": [{"price": 1}] * MAX_MEMBERS}
    reading = Reading()
    assert read({"path": "lines[*].price", "pipe": ["sum"]}, allowed, reading) == MAX_MEMBERS
    assert read({"path": "lines", "pipe": [["sum", "price"]]}, allowed, reading) == MAX_MEMBERS
    assert read("more[*]", {"more": [1]}, reading) == OVER_BUDGET.reason
    too_many = {"lines": [{"price": 1}] * (MAX_MEMBERS + 1)}
    assert read({"path": "lines", "pipe": [["sum", "price"]]}, too_many) == OVER_BUDGET.reason
    assert read("lines[*].price", too_many) == OVER_BUDGET.reason


def test_an_event_has_a_limit_of_steps() -> None:
    reading = Reading(steps_left=10)
    assert read("list[*]", {"list": [1] * 6}, reading) == [1] * 6
    assert read("list[*]", {"list": [1] * 6}, reading) == OVER_BUDGET.reason
    # A long text costs more than one step.
    assert (
        read({"path": "t", "pipe": ["lower"]}, {"t": "A" * 8000}, Reading(steps_left=10))
        == OVER_BUDGET.reason
    )
