"""The audit: one row per administrative action, with actor, subject, and the values before and after."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit_chain import ChainRow
from app.store import Row, read_row, read_sql
from app.store.statements import execute, fetch, read_all

SQL: Final = read_sql(__file__)


class AuditAction(StrEnum):
    """Every action that the audit records. The console has a sentence for each."""

    DESTINATION_CREATED = "destination.created"
    DESTINATION_CHANGED = "destination.changed"
    DESTINATION_CONNECT_BEGUN = "destination.connect_begun"
    DESTINATION_CONNECTED = "destination.connected"
    DESTINATION_DISCONNECTED = "destination.disconnected"
    DESTINATION_PAUSED = "destination.paused"
    DESTINATION_RESUMED = "destination.resumed"
    DESTINATION_CALLBACK_CHANGED = "destination.callback_changed"
    TEST_CONVERSIONS_SENT = "destination.test_conversions_sent"
    DESTINATION_ARCHIVED = "destination.archived"
    MAPPING_CREATED = "mapping.created"
    MAPPING_CHANGED = "mapping.changed"
    MAPPING_PUBLISHED = "mapping.published"
    MAPPING_ROLLED_BACK = "mapping.rolled_back"
    MAPPING_ARCHIVED = "mapping.archived"
    SHADOW_STARTED = "mapping.shadow_started"
    SHADOW_ENDED = "mapping.shadow_ended"
    EVENT_NAME_RENAMED = "event_name.renamed"
    DESTINATION_ALERTING_CHANGED = "destination.alerting_changed"
    DESTINATION_NOTIFICATIONS_CHANGED = "destination.notifications_changed"
    INCIDENT_ACKNOWLEDGED = "incident.acknowledged"
    INCIDENT_MUTED = "incident.muted"
    EVENTS_REPLAYED = "events.replayed"
    EVENTS_RETRIED = "events.retried"
    DEAD_LETTERS_DISMISSED = "dead_letters.dismissed"
    SUBJECT_ERASURE_REQUESTED = "subject.erasure_requested"
    SUBJECT_SEARCHED = "subject.searched"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    ORGANISATION_CREATED = "organisation.created"
    ORGANISATION_CHANGED = "organisation.changed"
    ORGANISATION_SUSPENDED = "organisation.suspended"
    ORGANISATION_RESUMED = "organisation.resumed"
    ORGANISATION_SWITCHED = "organisation_switched"
    SIGN_IN = "sign_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SESSION_ENDED = "session_ended"


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
    values = (None if each is None else _encode(each) for each in (before, after))
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
    ids = None if only is None else list(only)
    return await read_all(
        connection,
        lambda row: read_row(AuditEntry, row, id=id_of(row["id"])),
        SQL["newest"],
        *conditions,
        ids,
        below,
        limit,
    )


async def names(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of the destinations, mappings and keys among these ids, deleted ones included."""
    rows = await fetch(connection, SQL["names"], sorted(set(ids)))
    return {row["id"]: row["name"] for row in rows}


async def chain(connection: AsyncConnection, *, after: int, limit: int) -> list[ChainRow]:
    """Return up to `limit` rows of the hash chain with a sequence above `after`, in order."""
    return await read_all(connection, _chain_row, SQL["chain"], after, limit)


async def unlinked(connection: AsyncConnection) -> list[ChainRow]:
    """Return a list of at most one row: the oldest row that has no sequence or no hash."""
    return await read_all(connection, _chain_row, SQL["unlinked"], 1)


async def links_of(connection: AsyncConnection, ids: Sequence[int]) -> list[ChainRow]:
    """Return the acting organisation's rows with these ids, for a check of their hashes."""
    return await read_all(connection, _chain_row, SQL["links_of"], list(ids))


def _chain_row(row: Row) -> ChainRow:
    return read_row(ChainRow, row, number=row["sequence"])


_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def _encode(values: Mapping[str, Any]) -> str:
    return _ENCODER.encode(values).decode()
