"""Builds broken on purpose: for each, some row of the specification must fail, or the rows prove nothing."""

import inspect
import types
from typing import NamedTuple

import pytest
from amazon_replies import ROWS, Row

from app.amazon import wire


class _Break(NamedTuple):
    defect: str
    right: str
    wrong: str


BREAKS = (
    _Break(
        "an empty 207 is taken as success",
        'return ItemUnknown("missing_index")',
        "return ItemAccepted()",
    ),
    _Break(
        "an index in both lists is taken as success",
        'case True, True:\n            return ItemUnknown("contradictory")',
        "case True, True:\n            return ItemAccepted()",
    ),
    _Break(
        "413 is not divided",
        "case 400 | 413:",
        "case 400:",
    ),
    _Break(
        "a 200 is not read",
        "case _ if 200 <= status <= 299:",
        "case 207:",
    ),
    _Break(
        "a reply that counts from one is believed",
        "if sent in indexes and 0 not in indexes",
        "if False",
    ),
    _Break(
        "`true` counts as index one",
        'type(index := row.get("index")) is int',
        'isinstance(index := row.get("index"), int)',
    ),
    _Break(
        "a negative index counts from the end",
        "if 0 <= index < sent:\n            named[index].accepted",
        "if index < sent:\n            named[index].accepted",
    ),
    _Break(
        "every item error is retried",
        "if code not in RETRYABLE_CODES:",
        "if False:",
    ),
    _Break(
        "BAD_REQUEST is retried",
        "RETRYABLE_CODES = frozenset({",
        'RETRYABLE_CODES = frozenset({"BAD_REQUEST", ',
    ),
    _Break(
        "an unreadable body is read as an empty one",
        'return ServerError("amazon_unreadable")',
        "reply = {}",
    ),
    _Break(
        "408 is not Amazon's trouble",
        "status == 408 or 500 <= status",
        "500 <= status",
    ),
    _Break(
        "a glance believes an entry that names two indexes",
        """if body.count(b'"index"') == sent and""",
        "if",
    ),
    _Break(
        "a glance believes what is spelt with an escape",
        ' and b"\\\\u00" not in body',
        "",
    ),
    _Break(
        "Retry-After is not read",
        "Throttled(retry_after(headers, now))",
        "Throttled(None)",
    ),
)


@pytest.mark.parametrize(("right", "wrong"), [pytest.param(*one[1:], id=one.defect) for one in BREAKS])
def test_a_broken_build_is_noticed(right: str, wrong: str) -> None:
    """The rows that hold for the module fail for a copy of it with one thing wrong."""
    source = inspect.getsource(wire)
    assert source.count(right) == 1, "the line to break is gone: break what took its place"
    broken = types.ModuleType("app.amazon.broken_wire")
    exec(compile(source.replace(right, wrong), "broken_wire.py", "exec"), vars(broken))
    assert [row.rule for row in ROWS if not _holds(broken, row)]


def test_the_copy_itself_is_right() -> None:
    """Unbroken, the copy fails no row: what fails above fails for the break alone."""
    copy = types.ModuleType("app.amazon.copied_wire")
    exec(compile(inspect.getsource(wire), "copied_wire.py", "exec"), vars(copy))
    assert [row.rule for row in ROWS if not _holds(copy, row)] == []


def _holds(module: types.ModuleType, row: Row) -> bool:
    try:
        return module.read_reply(row.status, row.headers, row.bytes(), [b"{}"] * row.sent) == row.reply
    except Exception:
        return False
