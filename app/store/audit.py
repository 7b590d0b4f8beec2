"""Who did what to which thing, and how it was before and after: one row for each administrative act."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit_chain import ChainRow


class AuditAction(StrEnum):
    """Every administrative act: nothing else is recorded, so that readers can have a sentence for each."""

    DESTINATION_CREATED = "destination.created"
    DESTINATION_CHANGED = "destination.changed"
    DESTINATION_CONNECT_BEGUN = "destination.connect_begun"
    DESTINATION_CONNECTED = "destination.connected"
    DESTINATION_DISCONNECTED = "destination.disconnected"
    DESTINATION_PAUSED = "destination.paused"
    DESTINATION_RESUMED = "destination.resumed"
    DESTINATION_CALLBACK_CHANGED = "destination.callback_changed"
    DESTINATION_ARCHIVED = "destination.archived"
    MAPPING_CREATED = "mapping.created"
    MAPPING_CHANGED = "mapping.changed"
    MAPPING_PUBLISHED = "mapping.published"
    MAPPING_ROLLED_BACK = "mapping.rolled_back"
    MAPPING_ARCHIVED = "mapping.archived"
    EVENT_NAME_RENAMED = "event_name.renamed"
    EVENTS_REPLAYED = "events.replayed"
    SUBJECT_ERASURE_REQUESTED = "subject.erasure_requested"
    PREFLIGHT_CONFIRMED = "preflight.confirmed"
    PREFLIGHT_WITHDRAWN = "preflight.withdrawn"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One administrative act. `before` and `after` hold what changed, and never a secret."""

    id: int
    at: datetime
    actor: str
    act: str
    subject: str
    destination: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    link: int | None = None
    prev_hash: bytes | None = None
    hash: bytes | None = None


async def record(
    connection: AsyncConnection,
    *,
    actor: str,
    act: AuditAction,
    subject: str,
    destination: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one row, in the transaction of the act itself: the act without its row cannot be committed.

    Where both `before` and `after` are given, members that did not change are left out of both.
    """
    if before is not None and after is not None:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        before = {name: before[name] for name in before if name in changed}
        after = {name: after[name] for name in after if name in changed}
    await connection.execute(
        text(
            "INSERT INTO audit (actor, act, subject, destination, before, after) VALUES "
            "(:actor, :act, :subject, :destination, CAST(:before AS jsonb), CAST(:after AS jsonb))"
        ),
        {
            "actor": actor,
            "act": act,
            "subject": subject,
            "destination": destination,
            "before": None if before is None else _dumped(before),
            "after": None if after is None else _dumped(after),
        },
    )


async def newest(
    connection: AsyncConnection,
    *,
    limit: int,
    below: int | None = None,
    destination: str | None = None,
    act: str | None = None,
    only: Sequence[str] | None = None,
) -> list[AuditEntry]:
    """Return up to `limit` acts, newest first, under the id `below`; `only` keeps to those destinations."""
    rows = await connection.execute(
        text(
            "SELECT id, at, actor, act, subject, destination, before, after, link, prev_hash, hash "
            "FROM audit "
            "WHERE (CAST(:below AS bigint) IS NULL OR id < :below) "
            "AND (CAST(:destination AS text) IS NULL OR destination = :destination) "
            "AND (CAST(:act AS text) IS NULL OR act = :act) "
            "AND (CAST(:only AS text[]) IS NULL OR destination = ANY (:only)) "
            "ORDER BY id DESC LIMIT :limit"
        ),
        {
            "below": below,
            "destination": destination,
            "act": act,
            "only": None if only is None else list(only),
            "limit": limit,
        },
    )
    return [
        AuditEntry(
            id=row.id,
            at=row.at,
            actor=row.actor,
            act=row.act,
            subject=row.subject,
            destination=row.destination,
            before=row.before,
            after=row.after,
            link=row.link,
            prev_hash=None if row.prev_hash is None else bytes(row.prev_hash),
            hash=None if row.hash is None else bytes(row.hash),
        )
        for row in rows
    ]


async def names(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, str]:
    """Return what the destinations, mappings and keys among these ids are called, deleted ones too."""
    rows = await connection.execute(
        text(
            "SELECT id, name FROM destinations WHERE id = ANY(CAST(:ids AS text[])) "
            "UNION ALL SELECT id, name FROM mappings WHERE id = ANY(CAST(:ids AS text[])) "
            "UNION ALL SELECT id, name FROM api_keys WHERE id = ANY(CAST(:ids AS text[]))"
        ),
        {"ids": sorted(set(ids))},
    )
    return {row.id: row.name for row in rows}


# The members of a link as the trigger hashes them; the text of a jsonb is the same wherever it is read.
_LINKS = (
    "SELECT link, id, ARRAY[CAST(link AS text), CAST(id AS text), to_char(at AT TIME ZONE 'UTC', "
    "'YYYY-MM-DD\"T\"HH24\\:MI\\:SS.US'), actor, act, subject, destination, "
    "CAST(before AS text), CAST(after AS text)] AS members, prev_hash, hash FROM audit "
)


async def chain(connection: AsyncConnection, *, after: int, limit: int) -> list[ChainRow]:
    """Return up to `limit` links of the chain behind the number `after`, in its order."""
    rows = await connection.execute(
        text(_LINKS + "WHERE link > :after ORDER BY link LIMIT :limit"),
        {"after": after, "limit": limit},
    )
    return [_link(row) for row in rows.mappings()]


async def unlinked(connection: AsyncConnection) -> list[ChainRow]:
    """Return the first row that is in no chain, if there is one."""
    rows = await connection.execute(text(_LINKS + "WHERE link IS NULL OR hash IS NULL ORDER BY id LIMIT 1"))
    return [_link(row) for row in rows.mappings()]


def _link(row: RowMapping) -> ChainRow:
    return ChainRow(
        number=row["link"],
        id=row["id"],
        members=tuple(row["members"]),
        prev_hash=None if row["prev_hash"] is None else bytes(row["prev_hash"]),
        hash=None if row["hash"] is None else bytes(row["hash"]),
    )


_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def _dumped(said: Mapping[str, Any]) -> str:
    return _ENCODER.encode(said).decode()
