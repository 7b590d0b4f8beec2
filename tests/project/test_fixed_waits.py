"""No test waits for a fixed time: it awaits a signal or a condition, or moves a clock.

Campaigns are not tests: they last minutes of real time.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SHORTEST_GUARD_S = 1.0  # a shorter deadline does not guard against a hang, it proves that nothing happens

# Where real time is the subject: a folder, a module, or a function of a module.
ALLOWED = {
    "crashes/rehearsal.py:post": "an answer on its way when its process dies counts if it comes at once",
    "console/screens.py:settled": "a screenshot is taken after the browser's own animations",
    "console/test_seeded_faults.py:test_cause_and_remedy_are_named":
        "requests of real processes a second apart, which a rate limit counts",
    "api/test_slow_clients.py": "slow clients on real sockets: the server's deadlines are the subject",
    "domain/test_inbound_limit.py": "no wait: `InboundLimit.wait` returns a number of seconds",
    "incidents/receivers.py:answer": "a receiver on a real socket that answers byte by byte",
    "incidents/test_incident_drill.py": "real processes: a restart must announce nothing for a while",
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
