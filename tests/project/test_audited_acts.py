"""Every act of a person leaves an audit row: derived from the routes and the functions that they call."""

import ast
import inspect
import sys
import textwrap
from types import FunctionType

import pytest

from app.processes.application import ROUTERS
from app.store.audit import AuditAction

D = "/destinations/{destination_id}"
# The routes with a method that may change something, and why they need no row.
UNAUDITED = {
    "POST /events": "events have their own history",
    f"POST /console{D}/test": "in development only; the event has its own history",
    f"POST {D}/mappings/suggest": "only computes",
    f"POST {D}/mappings/{{mapping_id}}/backtest": "only computes",
    f"POST {D}/mappings/{{mapping_id}}/preview": "only computes",
    f"POST /console{D}/mappings/{{mapping_id}}/preview": "only computes",
    f"POST {D}/dedupe/compare": "only computes",
    f"POST {D}/reconciliation/explain": "only computes",
    f"POST /console{D}/match-quality/compare": "only computes",
    f"POST /console{D}/match-quality/explain": "only computes",
    f"POST /console{D}/match-quality/hash": "only computes",
    "POST /console/hash-tester": "only computes",
    "POST /identity/explain-hash": "only computes",
    "POST /identity/hash": "only computes",
    "POST /console/audit/verify": "only reads the audit",
    f"POST /console{D}/preflight/ask": "only reads, at Amazon, and stores what Amazon answered",
}
ENDPOINTS = {
    f"{method} {route.path}": route.endpoint
    for router in ROUTERS
    for route in router.routes
    for method in getattr(route, "methods", None) or ()
    if method not in ("GET", "HEAD", "OPTIONS")
}


def actions_of(function: object, seen: set[object]) -> set[AuditAction]:
    """Return the audit actions that a function of the service names, or one that it calls."""
    function = inspect.unwrap(function)  # type: ignore[arg-type]
    if function in seen or not function.__module__.startswith("app."):
        return set()
    seen.add(function)
    names = dict(vars(sys.modules[function.__module__]))
    if isinstance(function, FunctionType):
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        names |= {name: cell.cell_contents for name, cell in cells}
    found: set[AuditAction] = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        match node:
            case ast.Name(id=name):
                target = names.get(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                target = getattr(names.get(name), attribute, None)
            case _:
                continue
        if isinstance(target, AuditAction):
            found.add(target)
        elif isinstance(target, FunctionType):
            found |= actions_of(target, seen)
    return found


@pytest.mark.parametrize("act", sorted(ENDPOINTS))
def test_an_act_is_audited_or_changes_nothing(act: str) -> None:
    assert bool(actions_of(ENDPOINTS[act], set())) != (act in UNAUDITED)


def test_the_exceptions_are_routes() -> None:
    assert UNAUDITED.keys() <= ENDPOINTS.keys()
