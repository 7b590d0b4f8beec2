"""The audit: one row per administrative action, with actor, subject, and the values before and after."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit_chain import ChainRow
from app.domain.codes import SentenceCode
from app.store import read_row, read_sql
from app.store.statements import execute, fetch, read_all

SQL: Final = read_sql(__file__)


class AuditAction(SentenceCode):
    """Every action that the audit records.

    The sentence says what an actor did: it continues a sentence that begins with the actor's name.
    """

    DESTINATION_CREATED = "destination.created", "created the destination"
    DESTINATION_CHANGED = "destination.changed", "changed the destination"
    DESTINATION_CONNECT_BEGUN = "destination.connect_begun", "started the Amazon sign-in"
    DESTINATION_CONNECTED = "destination.connected", "connected the destination to Amazon"
    DESTINATION_DISCONNECTED = "destination.disconnected", "disconnected the destination from Amazon"
    DESTINATION_PAUSED = "destination.paused", "paused the destination"
    DESTINATION_RESUMED = "destination.resumed", "resumed the destination"
    DESTINATION_CALLBACK_CHANGED = "destination.callback_changed", "changed the status callback"
    DESTINATION_ALERTING_CHANGED = "destination.alerting_changed", "changed the alerting"
    DESTINATION_NOTIFICATIONS_CHANGED = "destination.notifications_changed", "changed the notifications"
    INCIDENT_ACKNOWLEDGED = "incident.acknowledged", "acknowledged an incident"
    INCIDENT_MUTED = "incident.muted", "muted an incident"
    TEST_CONVERSIONS_SENT = "destination.test_conversions_sent", "sent test conversions"
    DESTINATION_ARCHIVED = "destination.archived", "deleted the destination"
    MAPPING_CREATED = "mapping.created", "created the mapping"
    MAPPING_CHANGED = "mapping.changed", "changed the mapping's draft"
    MAPPING_PUBLISHED = "mapping.published", "published the mapping"
    MAPPING_ROLLED_BACK = "mapping.rolled_back", "rolled the mapping back"
    MAPPING_ARCHIVED = "mapping.archived", "deleted the mapping"
    SHADOW_STARTED = "mapping.shadow_started", "started a shadow of the mapping's draft"
    SHADOW_ENDED = "mapping.shadow_ended", "ended the shadow of the mapping's draft"
    EVENT_NAME_RENAMED = "event_name.renamed", "renamed an event everywhere"
    EVENTS_REPLAYED = "events.replayed", "replayed events"
    EVENTS_RETRIED = "events.retried", "retried the waiting events immediately"
    DEAD_LETTERS_DISMISSED = "dead_letters.dismissed", "dismissed failed events"
    SUBJECT_ERASURE_REQUESTED = "subject.erasure_requested", "requested the erasure of a person's data"
    SUBJECT_SEARCHED = "subject.searched", "searched where a person is stored"
    KEY_CREATED = "key.created", "created a key"
    KEY_REVOKED = "key.revoked", "revoked a key"
    ORGANISATION_CREATED = "organisation.created", "created the organisation"
    ORGANISATION_CHANGED = "organisation.changed", "changed the organisation"
    ORGANISATION_SUSPENDED = "organisation.suspended", "suspended the organisation"
    ORGANISATION_RESUMED = "organisation.resumed", "resumed the organisation"
    ORGANISATION_SWITCHED = "organisation_switched", "switched to the organisation"
    SIGN_IN = "sign_in", "signed in to the console"
    SIGN_IN_REFUSED = "sign_in_refused", "was refused a sign-in to the console"
    SESSION_ENDED = "session_ended", "ended a console session"


# The position is a number of rows of all organisations, and the hashes let a reader compute it.
_OF_THE_CHAIN: Final = "Null unless the caller has the scope `organisations:admin`."


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An administrative action. `before` and `after` contain only the members that the action changed."""

    id: str
    at: datetime
    actor: str
    action: Annotated[str, Field(examples=["mapping.published"])]
    subject: str
    destination_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    sequence: Annotated[int | None, Field(description=f"Position in the hash chain. {_OF_THE_CHAIN}")]
    prev_hash: Annotated[str | None, Field(description=_OF_THE_CHAIN)]
    hash: Annotated[str | None, Field(description=_OF_THE_CHAIN)]


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


async def record(
    connection: AsyncConnection,
    actor: str,
    action: AuditAction,
    subject: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one row in the transaction of the action, so that both are committed or neither.

    A row whose subject is a destination, or its mapping or incident, belongs to this destination. If both
    `before` and `after` are given, their unchanged members are left out.
    """
    if before is not None and after is not None:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        before = {name: before[name] for name in before if name in changed}
        after = {name: after[name] for name in after if name in changed}
    values = (None if each is None else _ENCODER.encode(each).decode() for each in (before, after))
    await execute(connection, SQL["record"], actor, action, subject, *values)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter of audit rows; None means any. `kind` is the first part of an action, such as `mapping`."""

    actor: str | None = None
    kind: str | None = None
    action: str | None = None
    target: str | None = None
    destination: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def newest(
    connection: AsyncConnection,
    *,
    limit: int,
    below: int | None = None,
    wanted: AuditFilter | None = None,
    only: Sequence[str] | None = None,
    id_of: Callable[[int], str],
) -> list[AuditEntry]:
    """Return up to `limit` audit rows with ids below `below`, newest first.

    `only` limits the rows to these destinations. `id_of` returns the public id of a row.
    """
    conditions = astuple(wanted or AuditFilter())
    rows = await fetch(connection, SQL["newest"], *conditions, only, below, limit)
    return [read_row(AuditEntry, row, id=id_of(row["id"])) for row in rows]


async def names(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of the destinations, mappings and keys among these ids, deleted ones included."""
    return {row["id"]: row["name"] for row in await fetch(connection, SQL["names"], sorted(set(ids)))}


_read_link: Final = partial(read_row, ChainRow)


async def chain(connection: AsyncConnection, *, after: int, limit: int) -> list[ChainRow]:
    """Return up to `limit` rows of the hash chain with a sequence above `after`, in order."""
    return await read_all(connection, _read_link, SQL["chain"], after, limit)


async def unlinked(connection: AsyncConnection) -> list[ChainRow]:
    """Return a list of at most one row: the oldest that has no sequence or no hash, without its members."""
    return await read_all(connection, _read_link, SQL["unlinked"])


async def links_of(connection: AsyncConnection, ids: Sequence[int]) -> list[ChainRow]:
    """Return the acting organisation's rows with these ids, for a check of their hashes."""
    return await read_all(connection, _read_link, SQL["links_of"], list(ids))
