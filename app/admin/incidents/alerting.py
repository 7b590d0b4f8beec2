"""The `alerting` and the notifications of a destination as request bodies."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, create_model

from app.admin.inputs import REPORT_ONCE, DestinationChange, Instant, RequestBody, validation_error
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.thresholds import DEFAULTS, RANGES, Threshold
from app.domain.notifications.messages import Preference


def _member(name: str, default: bool | float) -> Any:
    """Return the type of a threshold's member: that of its default, within its range, or null."""
    if isinstance(default, bool):
        return bool | None
    low, high = RANGES[name]
    return Annotated[type(default), Field(ge=low, le=high)] | None


def _threshold(kind: Kind, default: Threshold) -> Any:
    members = {name: (_member(name, value), None) for name, value in default.members.items()}
    title = f"{kind.value.title().replace('_', '')}Threshold"
    return create_model(title, __base__=RequestBody, **members)  # type: ignore[call-overload]


_KINDS: Final = {kind.value: (_threshold(kind, default) | None, None) for kind, default in DEFAULTS.items()}


class AlertingInput(create_model("AlertingKinds", __base__=RequestBody, **_KINDS)):  # type: ignore[misc]
    """Thresholds by kind of incident, merged member by member, and `muted_until`. Null restores a default."""

    muted_until: Instant | None = None

    def stored(self) -> dict[str, Any]:
        """Return the given members as they are stored."""
        stored: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        return stored


def _distinct(channels: list[str]) -> list[str]:
    if len(set(channels)) != len(channels):
        raise validation_error("duplicate")
    return channels


class NotificationPreference(RequestBody):
    """The kinds of incident that cause messages, and the channels for these. Null means every channel."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    channels: Annotated[list[str], Field(max_length=100), AfterValidator(_distinct)] | None = None
    kinds: Annotated[
        Literal["all"] | Annotated[list[Literal[tuple(Kind)]], Field(max_length=100)],  # type: ignore[valid-type]
        REPORT_ONCE,
    ] = "all"
    min_severity: Literal[tuple(Severity)] = Severity.WARNING.value  # type: ignore[valid-type]

    @classmethod
    def of(cls, preference: Preference) -> "NotificationPreference":
        """Return stored settings as the API shows them."""
        return cls(
            channels=None if preference.channels is None else sorted(preference.channels),
            kinds="all" if preference.kinds is None else sorted(preference.kinds),
            min_severity=preference.min_severity.value,
        )

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
