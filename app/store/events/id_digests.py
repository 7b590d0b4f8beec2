"""Store digests of the ids in batches, and find the batches that may hold an id (migration 0015)."""

from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple

from app.domain.batch import DigestRange, SearchedBatch, read_shapes
from app.domain.ids import BatchId
from app.store import MAX_BIGINT, PipelineConnection, read_sql, transactions
from app.store.database import damage

SQL: Final = read_sql(__file__)

_RANGES: Final = 20  # read at a time


class BatchSpan(NamedTuple):
    """A range of batch ids, both ends included."""

    first: BatchId
    last: BatchId


async def unread(connection: PipelineConnection, *, to: BatchId, limit: int) -> list[SearchedBatch]:
    """Return the next batches without digests, up to an id, in the order of their ids."""
    rows = await connection.fetch(SQL["unread"], to, limit)
    shapes = await damage.read_shapes_of(connection, {row["id"]: row["day"] for row in rows})
    return [
        SearchedBatch(row["organisation_id"], row["id"], row["day"], read_shapes(shapes.get(row["id"])))
        for row in rows
    ]


async def add(connection: PipelineConnection, ranges: Sequence[DigestRange]) -> None:
    """Store the digests of ranges of batches."""
    rows = []
    for each in ranges:
        digests = None if each.digests is None else b"".join(sorted(each.digests))
        rows.append((each.organisation_id, each.first, each.last, each.day, digests))
    await connection.executemany(SQL["add"], rows)


async def next_spans(
    connection: PipelineConnection, digest: bytes, *, highest: BatchId | None, since: date | None
) -> tuple[list[BatchSpan], bool]:
    """Return the newest ranges of ids up to `highest` that may hold an id with this digest, newest first.

    Also returns whether these are all. The newest batches have no digests yet, so they come first. Batches
    before the day `since` are left out.
    """
    async with transactions.in_index_order(connection):
        rows = await connection.fetch(
            SQL["next_spans"], MAX_BIGINT if highest is None else highest, digest, since, _RANGES
        )
    spans: list[BatchSpan] = []
    for row in rows:
        span = BatchSpan(row["first"], row["last"])
        if spans and spans[-1].first == span.last + 1:  # neighbours are read as one
            span = BatchSpan(span.first, spans.pop().last)
        spans.append(span)
    return spans, len(rows) < _RANGES
