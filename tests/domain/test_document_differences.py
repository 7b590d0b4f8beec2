"""Two documents say the same if JSON does: the constant true is not the constant 1."""

from decimal import Decimal
from typing import Any

import pytest
from conversions import compiled, document

from app.domain.mapping.diff import Difference, differences, is_same
from app.domain.observed.differences import changed_fields


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(True, 1, id="true and 1"),
        pytest.param(0, False, id="0 and false"),
        pytest.param({"const": True}, {"const": Decimal(1)}, id="in an object"),
        pytest.param(
            {"first_of": ["a", {"const": False}]}, {"first_of": ["a", {"const": 0}]}, id="in a list"
        ),
        pytest.param([1], [1, 2], id="longer"),
        pytest.param({"path": "a"}, {"path": "a", "default": None}, id="another member"),
    ],
)
def test_different_documents(before: Any, after: Any) -> None:
    assert not is_same(before, after)
    assert is_same(before, before)
    assert is_same(after, after)


def test_numbers_and_forms_of_lists_are_compared_by_value() -> None:
    assert is_same({"a": [1, {"b": 1.5}]}, {"a": (Decimal(1), {"b": Decimal("1.5")})})


def test_a_difference_is_named_with_its_place() -> None:
    before, after = {"custom_data": [{"const": True}]}, {"custom_data": [{"const": 1}]}
    assert list(differences(before, after)) == [Difference("custom_data[0].const", True, 1)]


def test_a_member_that_is_null_is_a_difference() -> None:
    """A table without the member leaves the value as it is; with null, there is no value."""
    before, after = {"pipe": [["map", {"guest": None, "a": 1}]]}, {"pipe": [["map", {"a": 1}]]}
    assert list(differences(before, after)) == [Difference("pipe[0][1].guest", None, None)]
    assert list(differences(after, before)) == [Difference("pipe[0][1].guest", None, None)]


@pytest.mark.parametrize("change", ["const", "default"])
def test_a_backtest_compares_the_field(change: str) -> None:
    source = {} if change == "const" else {"path": "nowhere"}
    rows = [{"custom_data": [{"name": "member", **source, change: value}]} for value in (True, 1)]
    assert changed_fields(*[compiled(document(row)) for row in rows]) == {"custom_data.member"}
