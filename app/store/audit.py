"""The audit: one row per administrative action, with actor, subject, and the values before and after."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from pydantic import Field, PlainSerializer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit_chain import ChainRow
from app.store.rows import Row, read_row
from app.store.statements import execute, fetch


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
    DEAD_LETTERS_DISMISSED = "dead_letters.dismissed"
    SUBJECT_ERASURE_REQUESTED = "subject.erasure_requested"
    SUBJECT_SEARCHED = "subject.searched"
    PREFLIGHT_CONFIRMED = "preflight.confirmed"
    PREFLIGHT_WITHDRAWN = "preflight.withdrawn"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    ORGANISATION_CREATED = "organisation.created"
    ORGANISATION_CHANGED = "organisation.changed"
    ORGANISATION_SUSPENDED = "organisation.suspended"
    ORGANISATION_RESUMED = "organisation.resumed"
    ORGANISATION_SWITCHED = "organisation_switched"
    SIGN_IN = "sign_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SESSION_ENDED = "session_ended"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An administrative action. `before` and `after` contain only the members that the action changed."""

    id: Annotated[int, PlainSerializer(str, return_type=str)]
    at: datetime
    actor: str
    action: Annotated[str, Field(examples=["mapping.published"])]
    subject: str
    destination_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    sequence: Annotated[int | None, Field(description="Position in the hash chain.")]
    prev_hash: str | None
    hash: str | None


async def record(
    connection: AsyncConnection,
    actor: str,
    action: AuditAction,
    subject: str,
    *,
    destination: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one row in the transaction of the action, so that both are committed or neither.

    If both `before` and `after` are given, their unchanged members are left out.
    """
    if before is not None and after is not None:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        before = {name: before[name] for name in before if name in changed}
        after = {name: after[name] for name in after if name in changed}
    await execute(
        connection,
        "INSERT INTO audit (organisation_id, actor, action, subject, destination, before, after) VALUES "
        "(acting_organisation(), :actor, :action, :subject, :destination, CAST(:before AS "
        "jsonb), CAST(:after AS jsonb))",
        actor=actor,
        action=action,
        subject=subject,
        destination=destination,
        before=None if before is None else _encode(before),
        after=None if after is None else _encode(after),
    )


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
) -> list[AuditEntry]:
    """Return up to `limit` audit rows with ids below `below`, newest first.

    `only` limits the rows to these destinations.
    """
    wanted = wanted or AuditFilter()
    rows = await fetch(
        connection,
        "SELECT id, at, actor, action, subject, destination AS destination_id, before, after, "
        "sequence, encode(prev_hash, 'hex') AS prev_hash, encode(hash, 'hex') AS hash "
        "FROM audit WHERE organisation_id = acting_organisation() "
        "AND (CAST(:below AS bigint) IS NULL OR id < :below) "
        "AND (CAST(:destination AS text) IS NULL OR destination = :destination) "
        "AND (CAST(:action AS text) IS NULL OR action = :action) "
        "AND (CAST(:kind AS text) IS NULL OR split_part(action, '.', 1) = :kind) "
        # A part of the actor is enough, because a person is stored as `name (oidc:subject)`.
        "AND (CAST(:actor AS text) IS NULL OR position(lower(:actor) IN lower(actor)) > 0) "
        "AND (CAST(:target AS text) IS NULL OR subject = :target OR destination = :target) "
        "AND (CAST(:since AS timestamptz) IS NULL OR at >= :since) "
        "AND (CAST(:until AS timestamptz) IS NULL OR at < :until) "
        "AND (CAST(:only AS text[]) IS NULL OR destination = ANY (:only)) "
        "ORDER BY id DESC LIMIT :limit",
        below=below,
        **asdict(wanted),
        only=None if only is None else list(only),
        limit=limit,
    )
    return [read_row(AuditEntry, row) for row in rows]


async def names(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of the destinations, mappings and keys among these ids, deleted ones included."""
    statement = " UNION ALL ".join(
        f"SELECT id, name FROM {table} WHERE organisation_id = acting_organisation() AND id = ANY (:ids)"
        for table in ("destinations", "mappings", "api_keys")
    )
    rows = await fetch(connection, statement, ids=sorted(set(ids)))
    return {row["id"]: row["name"] for row in rows}


# `members` contains the texts that the database's trigger hashes. A jsonb has the same text in every session.
_LINKS = (
    "SELECT sequence, id, ARRAY[CAST(sequence AS text), CAST(id AS text), to_char(at AT TIME ZONE 'UTC', "
    "'YYYY-MM-DD\"T\"HH24\\:MI\\:SS.US'), organisation_id, actor, action, subject, "
    "destination, CAST(before AS text), CAST(after AS text)] AS members, prev_hash, hash FROM audit "
)


async def chain(connection: AsyncConnection, *, after: int, limit: int) -> list[ChainRow]:
    """Return up to `limit` rows of the hash chain with a sequence above `after`, in order."""
    rows = await fetch(
        connection,
        _LINKS + "WHERE sequence > :after ORDER BY sequence LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [_chain_row(row) for row in rows]


async def unlinked(connection: AsyncConnection) -> list[ChainRow]:
    """Return a list of at most one row: the oldest row that has no sequence or no hash."""
    rows = await fetch(connection, _LINKS + "WHERE sequence IS NULL OR hash IS NULL ORDER BY id LIMIT 1")
    return [_chain_row(row) for row in rows]


async def links_of(connection: AsyncConnection, ids: Sequence[int]) -> list[ChainRow]:
    """Return the acting organisation's rows with these ids, for a check of their hashes."""
    rows = await fetch(
        connection,
        _LINKS + "WHERE organisation_id = acting_organisation() AND id = ANY (CAST(:ids AS bigint[]))",
        ids=list(ids),
    )
    return [_chain_row(row) for row in rows]


def _chain_row(row: Row) -> ChainRow:
    return read_row(ChainRow, row, number=row["sequence"])


_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def _encode(values: Mapping[str, Any]) -> str:
    return _ENCODER.encode(values).decode()
