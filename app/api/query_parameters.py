"""Query parameters: a route takes those it declares, each once, and nothing else.

What a route declares is read from its signature, so that a new route or parameter needs nothing here. A
parameter declared as a list may be given several times. A route may also declare that it ignores what it does
not know: only a redirect that somebody else writes has a reason to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from starlette.datastructures import QueryParams
from starlette.types import Scope

from app.admin.field_problems import request_path
from app.admin.refusals import ErrorCode, FieldProblem, Problem

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_IGNORES_UNKNOWN: Final = "__ignores_unknown_parameters__"
_MAX_FIELDS: Final = 20  # of one answer


@dataclass(frozen=True, slots=True)
class DeclaredParameters:
    """The query parameters of a route: every name, those that may repeat, and whether others are ignored."""

    names: frozenset[str]
    repeatable: frozenset[str] = frozenset()
    ignores_unknown: bool = False


def ignores_unknown_parameters(endpoint: Endpoint) -> Endpoint:
    """Let a route be called with any query: its address is a redirect that another server writes."""
    setattr(endpoint, _IGNORES_UNKNOWN, True)
    return endpoint


def parameters_of(dependant: Dependant, endpoint: Callable[..., Any]) -> DeclaredParameters:
    """Return the query parameters that a route and its dependencies declare."""
    declared = [one for one in get_flat_params(dependant) if isinstance(one.field_info, params.Query)]
    return DeclaredParameters(
        names=frozenset(one.alias for one in declared),
        repeatable=frozenset(one.alias for one in declared if _is_list(one.field_info.annotation)),
        ignores_unknown=hasattr(endpoint, _IGNORES_UNKNOWN),
    )


def refused_parameters(query_string: bytes, declared: DeclaredParameters) -> Problem | None:
    """Return the 422 for a query that names what the route does not have, or a name twice; else None.

    Names are compared as they are, case included. The framework's own parser reads them, so that this check
    and the route cannot read different ones.
    """
    if not query_string or declared.ignores_unknown:
        return None
    found: dict[FieldProblem, None] = {}
    given: set[str] = set()
    for name, _ in QueryParams(query_string).multi_items():
        if name not in declared.names:
            found[FieldProblem(request_path([name]), "unknown_parameter")] = None
        elif name in given and name not in declared.repeatable:
            found[FieldProblem(name, "duplicate")] = None
        given.add(name)
    if not found:
        return None
    taken = ", ".join(sorted(declared.names)) or "none"
    detail = f"The query has a parameter that this address does not take, or one twice. It takes: {taken}."
    return Problem(ErrorCode.INVALID, detail, tuple(found)[:_MAX_FIELDS])


def without_blanks(query_string: bytes) -> bytes:
    """Return a query without the parameters that have no value: a form sends its empty fields too."""
    pairs = parse_qsl(query_string.decode("latin-1"))  # which leaves out blank values
    return urlencode(pairs).encode()


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_is_list(one) for one in get_args(annotation))


def unreadable_target(scope: Scope) -> Problem | None:
    """Return what is wrong with an address: no id holds NUL, and Postgres would choke on one in a search."""
    if "\0" in scope["path"]:
        return Problem(ErrorCode.NOT_FOUND)
    if b"\0" in unquote_to_bytes(scope["query_string"]):
        return Problem(ErrorCode.MALFORMED, "The query holds the character NUL, which no parameter takes.")
    return None
