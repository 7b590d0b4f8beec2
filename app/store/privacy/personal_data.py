"""Search every text, JSON and binary column of the database for personal data.

The database compares the values with the patterns, so that values do not leave it. It searches one range of
pages per statement, so that no statement takes long. Only values that this service compressed are read, a few
at a time, because the database cannot decompress them.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.privacy.personal_data import PATTERNS, CanaryForm, found_in
from app.store import PipelineConnection, fetch_rows, read_sql

SQL: Final = read_sql(__file__)

_PAGES = 256  # pages of 8 KiB per statement
_COMPRESSED = r"'\x28b52ffd'::bytea"  # the first bytes of a Zstandard frame
# What a replay or a dismissal of chosen events records of their ids (`EventQuery.document`).
_ID_DIGEST = r'"event_ids": \{"count": \d+, "sha256": "[0-9a-f]{64}"\}'
_ID_DIGEST_COLUMNS = {("replays", "selection"), ("audit", "after")}
_VALUES = 100  # compressed values in memory at a time


@dataclass(frozen=True, slots=True)
class ScannedColumn:
    """A column to search, its table or partition (`stored_as`), and the table with all partitions."""

    table: str
    stored_as: str
    name: str
    is_binary: bool


async def columns(connection: PipelineConnection) -> list[ScannedColumn]:
    """Return every column that can contain text, of every table of the schema."""
    return await fetch_rows(connection, ScannedColumn, SQL["columns"])


async def scan(
    connection: PipelineConnection, scanned: Sequence[ScannedColumn], forms: list[CanaryForm]
) -> Counter[tuple[str, str, str]]:
    """Search these columns for the patterns and for `forms`.

    Returns the number of matching values by (table, column, pattern), without zeros.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    for stored_as in dict.fromkeys(column.stored_as for column in scanned):
        own = [column for column in scanned if column.stored_as == stored_as]
        pages: int = await connection.fetchval(SQL["pages"], stored_as)
        for first in range(0, pages, _PAGES):
            found += await _scan_pages(connection, own, forms, first)
    return found


async def _scan_pages(
    connection: PipelineConnection, own: Sequence[ScannedColumn], forms: list[CanaryForm], first: int
) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    where = f"ctid >= '({first},0)'::tid AND ctid < '({first + _PAGES},0)'::tid"
    patterns, stored = list(PATTERNS.values()), [form.stored for form in forms]
    names = [*PATTERNS, *(form.name for form in forms)]
    for column in own:
        quoted = f'"{column.name}"'
        text = f"encode({quoted}, 'escape')" if column.is_binary else f"{quoted}::text"
        if (column.table, column.name) in _ID_DIGEST_COLUMNS:
            text = f"regexp_replace({text}, '{_ID_DIGEST}', '', 'g')"
        raw = quoted if column.is_binary else f"convert_to(lower({quoted}::text), 'UTF8')"
        other = f" AND substr({quoted}, 1, 4) <> {_COMPRESSED}" if column.is_binary else ""
        # One count for each pattern, then one for each form of a canary (a value that must not be found).
        counts = [f"count(*) FILTER (WHERE {text} ~* ($1::text[])[{n + 1}])" for n in range(len(patterns))]
        counts += [
            f"count(*) FILTER (WHERE position(($2::bytea[])[{n + 1}] in {raw}) > 0)"
            for n in range(len(stored))
        ]
        [row] = await connection.fetch(
            f'SELECT {", ".join(counts)} FROM "{column.stored_as}" '
            f"WHERE {where}{other} AND $2::bytea[] IS NOT NULL",
            patterns,
            stored,
        )
        own_names = [(column.table, column.name, name) for name in names]
        found.update({key: number for key, number in zip(own_names, row, strict=True) if number})
        if column.is_binary:
            async for value in _compressed(connection, column, where):
                found.update((column.table, column.name, name) for name in found_in(value, forms))
    return found


async def _compressed(
    connection: PipelineConnection, column: ScannedColumn, where: str
) -> AsyncIterator[bytes]:
    """Yield the compressed values of a range of pages, in one transaction."""
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(
            f'SELECT "{column.name}" AS value FROM "{column.stored_as}" '
            f'WHERE {where} AND substr("{column.name}", 1, 4) = {_COMPRESSED}',
            prefetch=_VALUES,
        ):
            yield bytes(row["value"])
