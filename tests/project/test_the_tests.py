"""Rules for the tests: no fixed waits, one cluster, and no personal data in what they store and log.

A test awaits a signal or a condition, or moves a clock. Campaigns last minutes of real time.
"""

import ast
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import asyncpg
import pytest

from tests.personal_markers import LogSearch, markers_in

TESTS = Path(__file__).resolve().parents[1]
SHORTEST_GUARD_S = 1.0  # a shorter deadline does not guard against a hang, it proves that nothing happens

# Where real time is the subject: a folder, a module, or a function of a module.
ALLOWED = {
    "config_as_code/test_applying.py:test_an_apply_waits_longer_for_another_one_than_for_other_locks":
        "a lock is held for longer than the time-out of other locks",
    "crashes/rehearsal.py:post": "an answer on its way when its process dies counts if it comes at once",
    "console/screens.py:settled": "a screenshot is taken after the browser's own animations",
    "api/test_slow_clients.py": "slow clients on real sockets: the server's deadlines are the subject",
    "domain/test_inbound_limit.py": "no wait: `InboundLimit.wait` returns a number of seconds",
    "incidents/receivers.py:answer": "a receiver on a real socket that answers byte by byte",
    "incidents/test_notifications.py:test_a_mail_server_that_hangs_or_refuses_is_named_by_a_word.serve":
        "a server on a real socket that sends byte by byte past the client's deadline",
    "project/test_the_map.py:profile_events":
        "idle seconds are profiled, and each event waits until the memory in use is read again",
    "pipeline/test_no_connection.py:_accept": "a server on a real socket with a slow handshake",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a visit of a syntax tree is: function, innermost loop of it, inside an expected time-out."""

    function: str = ""
    polls: bool = False
    expects_timeout: bool = False


def waits(source: str) -> list[tuple[str, str]]:
    """Return the fixed waits of a module: the function that has it, and the expression."""
    return list(_visit(ast.parse(source), Place()))


def _visit(node: ast.AST, place: Place) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and _is_fixed_wait(child, place):
            yield place.function, ast.unparse(child)
        elif isinstance(child, ast.Constant) and "pg_sleep(" in str(child.value):
            yield place.function, str(child.value)
        yield from _visit(child, _inside(child, place))


def _inside(node: ast.AST, place: Place) -> Place:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return Place(f"{place.function}.{name}".lstrip("."))
        case ast.While():
            return replace(place, polls=True)  # ends with its condition
        case ast.For() | ast.AsyncFor():
            return replace(place, polls=False)  # ends after so many waits
        case ast.With(items=items) | ast.AsyncWith(items=items):
            expects = any("TimeoutError" in ast.unparse(item) for item in items)
            return replace(place, expects_timeout=place.expects_timeout or expects)
        case _:
            return place


def _is_fixed_wait(call: ast.Call, place: Place) -> bool:
    name = ast.unparse(call.func).rpartition(".")[2]
    owner = ast.unparse(call.func).rpartition(".")[0]
    given = {each.arg: each.value for each in call.keywords}
    match name:
        case "sleep" if owner in ("asyncio", "time", ""):
            return not place.polls and not _is_below(call.args[0], 1e-9)
        case "wait_for_timeout":
            return not place.polls
        case "wait_for":
            deadline = call.args[1] if len(call.args) > 1 else given.get("timeout")
        case "timeout" if owner == "asyncio":
            deadline = call.args[0]
        case "wait":
            deadline = given.get(
                "timeout", call.args[0] if len(call.args) == 1 and owner != "asyncio" else None
            )
        case _:
            return False
    return deadline is not None and (place.expects_timeout or _is_below(deadline, SHORTEST_GUARD_S))


def _is_below(value: ast.expr, limit: float) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float) and value.value < limit


@cache
def found() -> dict[str, list[str]]:
    """Return the fixed waits of all tests, by module and function."""
    all_waits: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("*.py")):
        for function, expression in waits(path.read_text()) if path != Path(__file__).resolve() else ():
            all_waits.setdefault(f"{path.relative_to(TESTS)}:{function}", []).append(expression)
    return all_waits


def covers(entry: str, place: str) -> bool:
    """Return whether an entry of the list names a place: itself, its module, or its folder."""
    return place == entry or place.startswith(entry if entry.endswith("/") else f"{entry}:")


def test_only_places_whose_subject_is_real_time_wait_for_it() -> None:
    """Everything else moves a `ManualClock`, uses `eventually`, or awaits an event."""
    places = found()
    assert {at: what for at, what in places.items() if not any(covers(one, at) for one in ALLOWED)} == {}


def test_the_list_names_only_places_that_wait() -> None:
    """A place that was repaired leaves the list."""
    places = found()
    assert [entry for entry in ALLOWED if not any(covers(entry, place) for place in places)] == []


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x00ord-1\x00person17@example.com\x00", {"person17@example.com"}),
        (b"{'brand': 'qzmarkerbrand'}", {"qzmarkerbrand"}),
        (b"Canary-7f3a@example.com qzmarkername", set()),
        (b"acme example.com", set()),
    ],
)
def test_a_marker_is_found_unless_it_is_written_deliberately(data: bytes, found: set[str]) -> None:
    """Within the bytes of a row."""
    assert markers_in(data) == found


def test_a_marker_in_a_field_of_a_log_line_is_found() -> None:
    """As the process would write it."""
    search, log = LogSearch(), logging.Logger("app.example")
    log.addHandler(search)
    log.warning("claim.failed", extra={"fields": {"destination": "dst_1"}})
    assert search.found == set()
    log.warning("claim.failed", extra={"fields": {"destination": "ada@example.com"}})
    assert search.found == {"ada@example.com"}


OF_THE_CLUSTER = re.compile(r"\bFROM pg_(locks|stat_activity)\b")
LIMITED = re.compile(r"datname = current_database\(\)|SESSIONS_HERE|\bpid = ")


def unlimited(source: str) -> list[str]:
    """Return the statements of a module that see the sessions or locks of other databases."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in parts
    ]
    return [text for text in texts if OF_THE_CLUSTER.search(text) and not LIMITED.search(text)]


def test_a_statement_sees_the_sessions_of_its_own_database_only() -> None:
    """One that ends all sessions of the product would end those of a test in another worker."""
    sources = {path: path.read_text() for path in TESTS.rglob("*.py") if path != Path(__file__).resolve()}
    concerned = {path: source for path, source in sources.items() if OF_THE_CLUSTER.search(source)}
    assert len(concerned) > 5
    found = {str(path.relative_to(TESTS)): unlimited(source) for path, source in concerned.items()}
    assert {path: texts for path, texts in found.items() if texts} == {}


@pytest.mark.reads_only
async def test_a_test_that_only_reads_changes_nothing(owner: asyncpg.Connection) -> None:
    """A test with the mark `reads_only` that changes something fails: no other test meets its rows."""
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await owner.execute("DELETE FROM audit")
