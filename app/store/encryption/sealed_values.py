"""Find values that are encrypted with an earlier key, and store them encrypted with the current key.

Encrypted values in the database are called sealed values. Each sealed value is bound to a context, a text
that names its row. The value can be decrypted only with the same context.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.crypto import batch_place
from app.store import PipelineConnection, columns_of, execute, fetch_rows, fetch_scalar, read_row
from app.store.database import damage
from app.store.destinations.sign_ins import verifier_place
from app.store.destinations.token_leases import access_place, refresh_place


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values.

    `key` is the column that identifies a row, and `kind` is the type of this column. `place` returns the
    context of a row.
    """

    table: str
    column: str
    key: str
    kind: str
    place: Callable[[Any], str]


# Every column with sealed values.
COLUMNS = (
    SealedColumn("secrets", "sealed", "name", "text", lambda name: f"secrets/{name}"),
    SealedColumn("sign_ins", "refresh_token", "destination", "text", refresh_place),
    SealedColumn("sign_ins", "access_token", "destination", "text", access_place),
    SealedColumn("oauth_states", "code_verifier", "state_hash", "bytea", verifier_place),
    SealedColumn("erasures", "sealed", "id", "text", lambda id_: f"erasure:{id_}"),
    SealedColumn("batch_states", "data_key", "batch", "bigint", batch_place),
)


@dataclass(frozen=True, slots=True, repr=False)
class SealedValue:
    """A sealed value, and the `key` that identifies its row."""

    key: Any
    value: bytes


async def count(connection: PipelineConnection, of: SealedColumn, writes: str) -> int:
    """Return the number of values of a column that are sealed with another key than `writes`."""
    statement = f"SELECT count(*) FROM ({_select(of)}) AS older"
    return await fetch_scalar(connection, int, statement, writes.encode())


async def sealed_under_other_keys(
    connection: PipelineConnection, of: SealedColumn, writes: str, *, after: Any, limit: int
) -> list[SealedValue]:
    """Return up to `limit` values that are sealed with another key than `writes`.

    The values are in order of the column `key`, after the value `after`.
    """
    later = f"($2::{of.kind} IS NULL OR {of.key} > $2::{of.kind})"
    statement = f"{_select(of)} AND {later} ORDER BY {of.key} LIMIT $3"
    return await fetch_rows(connection, SealedValue, statement, writes.encode(), after, limit)


async def older_between(
    connection: PipelineConnection, of: SealedColumn, writes: str, *, first: int, last: int
) -> list[SealedValue]:
    """Return values that are sealed with another key than `writes`, without damaged rows.

    Only rows whose `key` is from `first` to `last` are read.
    """
    statement = f"{_select(of)} AND {of.key} BETWEEN $2 AND $3 ORDER BY {of.key}"
    found = await damage.read_range(connection, statement, writes.encode(), first=first, last=last)
    return [read_row(SealedValue, row) for row in found.rows]


def _select(of: SealedColumn) -> str:
    """Return SQL that reads the values of a column that are sealed with another key than $1.

    The first byte of a sealed value is the length of the key's id, and the id follows.
    """
    sealed_with = f"substring({of.column} FROM 2 FOR get_byte({of.column}, 0))"
    return (
        f"SELECT {of.key} AS key, {of.column} AS value FROM {of.table} WHERE {of.column} IS NOT NULL "
        f"AND CASE WHEN octet_length({of.column}) > 1 THEN {sealed_with} <> $1 ELSE true END"
    )


async def replace(
    connection: PipelineConnection, of: SealedColumn, old: Sequence[SealedValue], new: Sequence[bytes]
) -> int:
    """Replace each old value by the new value if it is unchanged. Return the number of replaced values.

    A value that was changed or deleted since it was read, such as a refreshed token, is not overwritten.
    """
    statement = (
        f"UPDATE {of.table} AS t SET {of.column} = changed.new "
        f"FROM unnest($1::{of.kind}[], $2::bytea[], $3::bytea[]) AS changed (key, old, new) "
        f"WHERE t.{of.key} = changed.key AND t.{of.column} = changed.old"
    )
    return await execute(connection, statement, *columns_of(old, "key", "value"), new)
