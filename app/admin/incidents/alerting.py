"""The `alerting` of a destination as a request body: thresholds by kind, and the maintenance window."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError, WithJsonSchema

from app.admin.inputs import DestinationChange, Instant, validation_error
from app.domain.incidents.kinds import Kind
from app.domain.incidents.thresholds import DEFAULTS, MUTED_UNTIL, RANGES

_INSTANT: TypeAdapter[datetime | None] = TypeAdapter(Instant | None)


def _alerting(value: Any) -> Any:
    """Check the members of `alerting` and return them in stored form. Null restores a member's default."""
    if not isinstance(value, Mapping):
        raise validation_error("not_an_object")
    checked: dict[str, Any] = {}
    for name, given in value.items():
        if name == MUTED_UNTIL:
            try:
                until = _INSTANT.validate_python(given)
            except ValidationError:
                raise validation_error("not_a_time", "", name) from None
            checked[name] = None if until is None else f"{until:%Y-%m-%dT%H:%M:%S}Z"
        elif name not in set(DEFAULTS):
            known = ", ".join([*DEFAULTS, MUTED_UNTIL])
            raise validation_error("unknown_field", f"alerting takes these members: {known}.", name)
        else:
            checked[name] = None if given is None else _threshold(Kind(name), given)
    return checked


def _threshold(kind: Kind, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise validation_error("not_an_object", "", kind)
    members = {field.name: getattr(DEFAULTS[kind], field.name) for field in fields(DEFAULTS[kind])}
    if unknown := sorted(given.keys() - members.keys()):
        known = ", ".join(members)
        raise validation_error(
            "unknown_field", f"alerting.{kind} takes these members: {known}.", kind, unknown[0]
        )
    return {name: _member(kind, name, members[name], number) for name, number in given.items()}


def _member(kind: Kind, name: str, default: Any, given: Any) -> Any:
    if given is None:
        return None
    if isinstance(default, bool):
        if not isinstance(given, bool):
            raise validation_error("not_a_boolean", "", kind, name)
        return given
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal):
        raise validation_error("not_a_number", "", kind, name)
    low, high = RANGES[name]
    if not low <= given <= high:
        raise validation_error(
            "out_of_range", f"alerting.{kind}.{name} must be {low:g} to {high:g}.", kind, name
        )
    if isinstance(default, int):
        if given != int(given):
            raise validation_error("not_an_integer", "", kind, name)
        return int(given)
    return float(given)


AlertingInput = Annotated[
    dict[str, Any],
    BeforeValidator(_alerting),
    WithJsonSchema(
        {
            "type": "object",
            "description": "Thresholds by kind of incident, merged member by member, and `muted_until`.",
            "examples": [{"backlog": {"minutes": 30}, "dead_letters": {"enabled": False}}],
        }
    ),
]


class DestinationUpdate(DestinationChange):
    """The fields of a destination to change, including its alerting."""

    alerting: AlertingInput | None = None
