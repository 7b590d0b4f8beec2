"""Check query parameters. A route accepts only the parameters in its signature, and each of them once.

A parameter that is declared as a list may repeat. A route may ignore unknown parameters if another server
redirects to it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from fastapi.dependencies.models import Dependant
from pydantic import BaseModel, BeforeValidator, Field
from starlette.datastructures import QueryParams
from starlette.types import Scope

from app.admin import ErrorCode, FieldProblem, Problem
from app.admin.field_problems import request_path
from app.domain.ids import OrganisationId


def _boolean_of(value: object) -> object:
    word = value.lower() if isinstance(value, str) else None
    return word == "true" if word in ("true", "false") else value


Flag = Annotated[bool, Field(strict=True), BeforeValidator(_boolean_of)]
"""A boolean of a query: `true` or `false` in upper or lower case, since Python's clients write `True`."""

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_IGNORES_UNKNOWN: Final = "__ignores_unknown_parameters__"
_MAX_FIELDS: Final = 20  # per response


@dataclass(frozen=True, slots=True)
class DeclaredParameters:
    """The query parameters of a route."""

    names: frozenset[str]
    repeatable: frozenset[str] = frozenset()
    ignores_unknown: bool = False


def ignores_unknown_parameters(endpoint: Endpoint) -> Endpoint:
    """Let a route ignore unknown parameters, because another server redirects to its address and may add
    some.
    """
    setattr(endpoint, _IGNORES_UNKNOWN, True)
    return endpoint


def parameters_of(dependant: Dependant, endpoint: Callable[..., Any]) -> DeclaredParameters:
    """Return the query parameters that a route and its dependencies declare."""
    declared = dict(_query_fields(dependant))
    return DeclaredParameters(
        names=frozenset(declared),
        repeatable=frozenset(name for name, annotation in declared.items() if _is_list(annotation)),
        ignores_unknown=hasattr(endpoint, _IGNORES_UNKNOWN),
    )


def _query_fields(dependant: Dependant) -> Iterator[tuple[str, Any]]:
    """Yield the name and type of each query parameter, also of those that a model declares."""
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, field in annotation.model_fields.items():
                yield field.alias or name, field.annotation
        else:
            yield parameter.alias, annotation
    for dependency in dependant.dependencies:
        yield from _query_fields(dependency)


def of_keyed_route(declared: DeclaredParameters) -> DeclaredParameters:
    """Return the parameters of a route that needs a key, which also accepts `organisation_id`."""
    return replace(declared, names=declared.names | {ORGANISATION})


def refused_parameters(query_string: bytes, declared: DeclaredParameters) -> Problem | None:
    """Return the problem of a query with an unknown or duplicate parameter, or None.

    Names are case-sensitive. The check uses the framework's parser, so that it reads the same values as the
    route.
    """
    if not query_string or declared.ignores_unknown:
        return None
    found: dict[FieldProblem, None] = {}
    seen: set[str] = set()
    for name, _ in QueryParams(query_string).multi_items():
        if name not in declared.names:
            found[FieldProblem(request_path([name]), "unknown_parameter")] = None
        elif name in seen and name not in declared.repeatable:
            found[FieldProblem(name, "duplicate")] = None
        seen.add(name)
    if not found:
        return None
    accepted = ", ".join(sorted(declared.names)) or "none"
    detail = f"The query has an unknown or duplicate parameter. Accepted parameters: {accepted}."
    return Problem(ErrorCode.INVALID, detail, tuple(found)[:_MAX_FIELDS])


ORGANISATION: Final = "organisation_id"
_ORGANISATION: Final = ORGANISATION.encode()
_ORGANISATION_FORM: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


def take_organisation(query_string: bytes) -> tuple[bytes, OrganisationId] | Problem | None:
    """Return a query without `organisation_id`, and the value of this parameter. Return None if it is
    missing.

    Every route that needs a key accepts this parameter, so routes do not declare it.
    """
    if _ORGANISATION not in query_string:
        return None
    pairs = QueryParams(query_string).multi_items()
    values = [value for name, value in pairs if name == ORGANISATION]
    if not values:
        return None
    if len(values) > 1:
        return Problem(ErrorCode.INVALID, fields=(FieldProblem(ORGANISATION, "duplicate"),))
    if not _ORGANISATION_FORM.fullmatch(values[0]):
        return Problem(ErrorCode.NOT_FOUND)
    rest = [(name, value) for name, value in pairs if name != ORGANISATION]
    return urlencode(rest).encode(), OrganisationId(values[0])


def without_blanks(query_string: bytes) -> bytes:
    """Return a query without empty parameters, because a form also sends its empty fields."""
    pairs = parse_qsl(query_string.decode("latin-1"))  # drops blank values
    return urlencode(pairs).encode()


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_is_list(argument) for argument in get_args(annotation))


def unreadable_target(scope: Scope) -> Problem | None:
    """Return the problem of an address that contains NUL, or None. Postgres cannot store NUL."""
    if "\0" in scope["path"]:
        return Problem(ErrorCode.NOT_FOUND)
    if b"\0" in unquote_to_bytes(scope["query_string"]):
        return Problem(ErrorCode.MALFORMED, "The query contains the character NUL, which is not allowed.")
    return None
