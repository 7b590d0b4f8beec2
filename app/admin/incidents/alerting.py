"""The `alerting` of a destination as a request body: thresholds by kind, and the maintenance window."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

from app.admin.inputs import REPORT_ONCE, DestinationChange, Instant, RequestBody, validation_error
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.thresholds import DEFAULTS, MUTED_UNTIL, RANGES
from app.domain.notifications.policy import Preference

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


def _distinct(channels: list[str]) -> list[str]:
    if len(set(channels)) != len(channels):
        raise validation_error("duplicate")
    return channels


class NotificationPreference(RequestBody):
    """The kinds of incident that cause messages, and the channels for these. Null means every channel."""

    channels: Annotated[list[str], Field(max_length=100), AfterValidator(_distinct)] | None = None
    kinds: Annotated[
        Literal["all"] | Annotated[list[Literal[tuple(Kind)]], Field(max_length=100)],  # type: ignore[valid-type]
        REPORT_ONCE,
    ] = "all"
    min_severity: Literal[tuple(Severity)] = Severity.WARNING.value  # type: ignore[valid-type]

    def preference(self) -> Preference:
        """Return the settings as a value."""
        return Preference(
            None if self.channels is None else frozenset(self.channels),
            None if self.kinds == "all" else frozenset(map(Kind, self.kinds)),
            Severity(self.min_severity),
        )


class DestinationUpdate(DestinationChange):
    """The fields of a destination to change, including its alerting."""

    alerting: AlertingInput | None = None
