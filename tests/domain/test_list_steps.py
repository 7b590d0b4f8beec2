"""Paths with `[*]` and `[-1]`, and the pipe functions for lists, clause by clause (interface §4.1, §4.2)."""

from decimal import Decimal
from typing import Any

import pytest

from app.domain.mapping.pipes import make_step
from app.domain.mapping.reading import MAX_MEMBERS, OVER_BUDGET, Reading, StepProblem
from tests.domain.readings import piped, read, read_with_notes
from tests.tables import cases

LINES = [{"price": "10.50", "quantity": 2}, {"price": 3, "quantity": "3"}]


@cases(
    ("path", "value"),
    {
        "each member that has one, in order": ("list[*].a", [1, 2]),
        "whole members": ("list[*]", [{"a": 1}, {"a": None}, {"b": 1}, {"a": " "}, {"a": 2}]),
        "two give one flat list": ("nested[*].inner[*].a", [1, 2, 3]),
        "one leaves lists in the list": ("nested[*].inner", [[{"a": 1}, {"a": 2}], {"a": 3}]),
        "an object is a list of one": ("object[*].a", [5]),
        "the last member": ("list[-1].a", 2),
        "the last of each": ("pairs[*][-1]", [2, 3]),
        "no members found": ("list[*].x", None),
        "an empty list": ("empty[*].x", None),
        "the last of an empty list": ("empty[-1].x", None),
        "an absent list": ("nothing[*].x", None),
        "null": ("null[*]", None),
        "a text": ("text[*]", "wrong_type"),
        "a number": ("number[*]", "wrong_type"),
        "a boolean": ("true[*]", "wrong_type"),
        "a member without members": ("texts[*].a", "wrong_type"),
        "the last of an object": ("object[-1]", "wrong_type"),
    },
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


@cases(
    ("step", "value", "expected"),
    {
        "count": ("count", [1, None, {}], 3),
        "count of an empty list": ("count", [], 0),
        "an object counts as a list of one": ("count", {"a": 1}, 1),
        "the first of equal members stays": ("unique", ["b", "a", "b"], ["b", "a"]),
        "numbers by amount, no others": ("unique", [1, Decimal("1.0"), "1", True], [1, "1", True]),
        "deep": ("unique", [{"a": 1}, {"a": Decimal("1.00")}, {"a": "1"}], [{"a": 1}, {"a": "1"}]),
        "lists of lists": ("unique", [[1, [2]], [1, [2]], [1, 2]], [[1, [2]], [1, 2]]),
        "in any order": ("unique", [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"a": 1, "b": 2}]),
        "null is a member": ("unique", [None, None], [None]),
        "pluck": (["pluck", "a"], [{"a": 1}, {}, {"a": None}, {"a": ""}, {"a": 2}], [1, 2]),
        "pluck by a path": (["pluck", "a.b[0]"], [{"a": {"b": [7]}}], [7]),
        "pluck a list of each": (["pluck", "a[*].b"], [{"a": [{"b": 1}, {"b": 2}]}], [1, 2]),
        "pluck of a text": (["pluck", "a"], ["t"], "wrong_type"),
        "pluck of an object": (["pluck", "a"], {"a": 1}, [1]),
        "sum of numbers and texts": ("sum", [1, "2.5", Decimal("0.1")], Decimal("3.6")),
        "sum of an empty list": ("sum", [], None),
        "sum with what is no number": ("sum", [1, "x"], "transform_failed"),
        "sum with a boolean": ("sum", [1, True], "wrong_type"),
        "sum with null": ("sum", [1, None], "transform_failed"),
        "texts are read as bare to_number reads them": ("sum", ["1,5"], "transform_failed"),
        "or in a form": (["sum", {"decimal": ","}], ["1.234,5", "€ 1"], Decimal("1235.5")),
        "the sum of products": (["sum", "price", "quantity"], LINES, Decimal("30.00")),
        "the sum of one member": (["sum", "quantity"], LINES, 5),
        "three factors": (["sum", "a", "b", "c"], [{"a": 2, "b": 3, "c": 4}, {"a": 1}], 25),
        "a path in each member": (["sum", "p.amount"], [{"p": {"amount": 4}}], 4),
        "of an object": (["sum", "price"], {"price": 4}, 4),
        "zero is a number": (["sum", "price"], [{"price": 0, "x": 1}], 0),
        "without the first number": (["sum", "price"], [{"x": 1}], "transform_failed"),
        "blank is without": (["sum", "price"], [{"price": " "}], "transform_failed"),
        "all are left out": (["sum", "price", {"missing": "skip"}], [{"x": 1}], None),
        "a member without members": (["sum", "price"], ["t"], "wrong_type"),
        "too large to calculate": (["sum", "price"], [{"price": 10**41}], "transform_failed"),
        "not skipped": (["sum", "price", {"missing": "skip"}], [{"price": "x"}], "transform_failed"),
        "min": ("min", [3, "2", Decimal("2.5")], 2),
        "max": ("max", [3, "20", Decimal("2.5")], 20),
        "max in a form": (["max", {"decimal": ","}], ["1.000,5", 7], Decimal("1000.5")),
        "join of an empty list": (["join", ","], [], None),
        "a text is no list": ("count", "t", "wrong_type"),
        "no value stays no value": ("max", None, None),
        "a step for one value on a list": ("lower", ["A"], "wrong_type"),
        "a list is no number": ("to_number", ["1"], "wrong_type"),
        "first stays as it is": ("first", "t", "t"),
        "last too": ("last", [1, 2], 2),
    },
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


@cases(
    ("where", "ids"),
    {
        "texts are equal exactly": (["kind", "is", "a"], [1]),
        "is_not holds for an absent value": (["kind", "is_not", "a"], [2, 3, 4]),
        "in": (["kind", "in", ["a", "A"]], [1, 2]),
        "not_in holds for an absent value": (["kind", "not_in", ["a", "A"]], [3, 4]),
        "numbers and decimal texts are equal by amount": (["price", "is", 19.9], [1, 2]),
        "whichever of them is the text": (["price", "is", "19.90"], [1, 2]),
        "but two texts exactly": (["price", "is", "19.9"], [2]),
        "in with values of two types": (["price", "in", [30, "n/a"]], [3, 4]),
        "one equal member of a list suffices": (["tags", "is", "x"], [1, 4]),
        "and then it is not another": (["tags", "is_not", "x"], [2, 3]),
        "a boolean": (["flag", "is", True], [3]),
        "a boolean is no text": (["flag", "is", "true"], []),
        "and no number": (["id", "is", True], []),
        "above": (["price", "above", 19.9], [4]),
        "below; an unreadable value is neither": (["price", "below", 20], [1, 2]),
        "present: neither null nor blank": (["kind", "present"], [1, 2]),
        "absent": (["kind", "absent"], [3, 4]),
        "a path that the member does not have": (["kind.x", "absent"], [1, 2, 3, 4]),
    },
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
        ["pluck"],
        ["pluck", "a..b"],
        ["sum", "a", "b", "c", "d"],
        ["sum", "a[*]"],
        ["sum", {"decimal": ";"}],
        ["sum", {"missing": "zero"}],
        ["sum", {"other": 1}],
        ["sum", {"decimal": ","}, "a"],
        ["min", "a"],
        ["max", {"missing": "skip"}],
        ["where"],
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
