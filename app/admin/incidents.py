"""Use cases on incidents, on the alerting and notifications of a destination, and on channels.

Also the `alerting` and the notifications of a destination as request bodies.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, create_model

from app.admin import Caller, ErrorCode, Refusal, invalid, require_found, require_future
from app.admin.context import AppContext, Update
from app.admin.destinations import changing, find_visible_row, reading_row
from app.admin.inputs import Instant, RequestBody, read_note, report_once, validation_error
from app.domain.incidents import thresholds
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.thresholds import DEFAULTS, MUTED_UNTIL, RANGES, Threshold
from app.domain.notifications import Channel, ChannelType, Preference, SentMessages
from app.store import PipelineConnection, incidents, transactions
from app.store.audit import AuditAction
from app.store.destinations import destinations, figures, outcome_history
from app.store.destinations.destinations import Destination
from app.store.incidents import IncidentFilter, StoredIncident, notifications
from app.store.incidents import alerting as stored_alerting
from app.store.incidents.notifications import ChannelHealth


async def list_incidents(
    context: AppContext, wanted: IncidentFilter, *, limit: int, below: int | None = None
) -> list[StoredIncident]:
    """Return up to `limit` incidents that the caller may see, newest first."""
    async with context.pool.acquire() as connection:
        return await incidents.page(
            connection, replace(wanted, only=context.caller.only), limit=limit, below=below
        )


async def find_incident(context: AppContext, incident: str) -> StoredIncident:
    """Return an incident that the caller may see. Raises Refusal (not found)."""
    async with context.pool.acquire() as connection:
        return await _find(connection, context.caller, incident)


@dataclass(frozen=True, slots=True)
class IncidentHistory:
    """The messages about an incident by channel, and what its destination did since a time.

    `suspended` says whether the organisation is suspended, so that nothing is sent.

    `requests` are the newest requests to Amazon, newest first. An incident of the service has only messages.
    """

    messages: Mapping[str, SentMessages]
    outcomes: Sequence[outcome_history.OutcomeBucket] = ()
    requests: Sequence[figures.RequestRow] = ()
    suspended: bool = False


async def read_incident_history(
    context: AppContext, stored: StoredIncident, *, since: datetime, bucket: timedelta
) -> IncidentHistory:
    """Read the history of an incident that the caller may see, in one snapshot."""
    destination = stored.incident.destination
    async with context.snapshot() as connection:
        sent = await notifications.sent(connection, [stored.id])
        messages = {channel: times for (_, channel), times in sent.items()}
        if destination is None:
            return IncidentHistory(messages)
        row = await find_visible_row(connection, context.caller, destination)
        outcomes = await outcome_history.buckets(connection, [row.number], width=bucket, since=since)
        requests = await figures.requests(connection, row.number, 20)
        return IncidentHistory(messages, outcomes[row.number], requests, row.suspended)


async def acknowledge_incident(context: AppContext, incident: str, *, note: str | None) -> StoredIncident:
    """Acknowledge an incident: reminders stop; a message is still sent when it resolves. Idempotent."""
    acknowledge = partial(incidents.acknowledge, by=context.caller.actor, note=read_note(note))
    return await _change(context, incident, AuditAction.INCIDENT_ACKNOWLEDGED, acknowledge)


async def mute_incident(context: AppContext, incident: str, *, until: datetime | None) -> StoredIncident:
    """Send no message about an incident before `until`; None ends the mute. Raises Refusal (404, 422)."""
    require_future("until", until, context.now())
    mute = partial(incidents.mute, until=until)
    return await _change(context, incident, AuditAction.INCIDENT_MUTED, mute)


async def _find(
    driver: PipelineConnection, caller: Caller, incident: str, *, lock: bool = False
) -> StoredIncident:
    found = require_found(await incidents.find(driver, incident, lock=lock))
    # Only callers without a limit see incidents of the service, which have no destination.
    if not caller.sees(found.incident.destination or ""):
        raise Refusal(ErrorCode.NOT_FOUND)
    return found


async def _change(
    context: AppContext, incident: str, action: AuditAction, apply: Callable[..., Awaitable[None]]
) -> StoredIncident:
    """Change an incident with a function of the store, and record what it changed."""
    async with context.transaction() as change:
        before = await _find(change.driver, context.caller, incident, lock=True)
        await apply(change.driver, incident)
        after = await _find(change.driver, context.caller, incident)
        if after != before:
            await change.record(action, incident, _audit_view(before), _audit_view(after))
    return after


def _audit_view(stored: StoredIncident) -> dict[str, Any]:
    # A note is free text and may be personal. The audit therefore records only that a note exists.
    return {
        "state": stored.incident.state.value,
        "muted_until": stored.muted_until,
        "has_note": stored.note is not None,
    }


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
        report_once(f"Use `all`, or a list of these: {', '.join(Kind)}."),
    ] = "all"
    min_severity: Literal[tuple(each.value for each in Severity)] = "warning"  # type: ignore[valid-type]

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


async def change_alerting(
    change: Update,
    destination: Destination,
    members: Mapping[str, Any],
    *,
    before: Destination | None,
    replaces: bool = False,
) -> Destination:
    """Merge members into the alerting of a destination. Return the destination, which gets a new version.

    If this transaction changed or created the destination, its version is new already: it is then not the row
    `before`. With `replaces`, thresholds that `members` does not contain get their defaults.
    """
    old = (await stored_alerting.read(change.driver, destination.id)).alerting
    new = thresholds.merged(thresholds.maintenance(old) if replaces else old, members)
    if new == old:
        return destination
    if new.get(MUTED_UNTIL) != old.get(MUTED_UNTIL):
        now = await transactions.started_at(change.driver)
        require_future(f"alerting.{MUTED_UNTIL}", thresholds.read(new).muted_until, now)
    await stored_alerting.write_alerting(change.driver, destination.id, new)
    views = ({"alerting": each} for each in (old, new))
    await change.record(AuditAction.DESTINATION_ALERTING_CHANGED, destination.id, *views)
    if destination is not before:
        return destination
    return await destinations.touch(change.connection, destination.id)


async def read_alerting(context: AppContext, destination: str) -> stored_alerting.AlertingRow:
    """Return the thresholds that are set for a destination, and its notification settings."""
    async with reading_row(context, destination) as (connection, found):
        return await stored_alerting.read(connection, found.id)


async def set_preference(context: AppContext, destination: str, preference: Preference) -> Preference:
    """Set the notification settings of a destination. Raises Refusal for a channel that does not exist."""
    known = {channel.name for channel in _own_channels(context)}
    async with changing(context, destination) as (change, found):
        await change_preference(change, found, preference, known)
    return preference


async def change_preference(
    change: Update, destination: Destination, preference: Preference, channels: Collection[str]
) -> None:
    """Set the notification settings of a destination. Raises Refusal for a channel not in `channels`."""
    if not (preference.channels or frozenset()).issubset(channels):
        names = ", ".join(sorted(channels)) or "none"
        detail = f"A channel does not exist. The notification channels of this organisation: {names}."
        raise invalid("channels", "not_in_list", detail)
    before = (await stored_alerting.read(change.driver, destination.id)).preference
    if before == preference:
        return
    await stored_alerting.write_preference(change.driver, destination.id, preference)
    old, new = (NotificationPreference.of(each).model_dump() for each in (before, preference))
    await change.record(AuditAction.DESTINATION_NOTIFICATIONS_CHANGED, destination.id, old, new)


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """A channel without its address, which is a credential."""

    name: str
    type: ChannelType
    state: Literal["ok", "failing"]
    last_success_at: datetime | None
    last_error: str | None


async def list_channels(context: AppContext) -> Sequence[ChannelStatus]:
    """Return the channels that the operator configured for the caller's organisation, by name."""
    async with context.pool.acquire() as connection:
        health = await notifications.channel_health(connection)
    return [_status(each, health.get(each.key, ChannelHealth())) for each in _own_channels(context)]


def _own_channels(context: AppContext) -> list[Channel]:
    """Return the channels of the caller's organisation, by name."""
    own = [channel for channel in context.channels if channel.organisation == context.caller.organisation]
    return sorted(own, key=attrgetter("key"))


def _status(channel: Channel, health: ChannelHealth) -> ChannelStatus:
    state: Literal["ok", "failing"] = "ok" if health.failing_since is None else "failing"
    return ChannelStatus(channel.name, channel.type, state, health.last_success_at, health.last_error)
