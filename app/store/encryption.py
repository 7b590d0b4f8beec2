"""Encrypted values of the database: their columns and places, their keys, and the service's own secrets.

Encrypted values in the database are called sealed values. Each sealed value is bound to its place, a text
that names its row. The value can be decrypted only with the same place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.crypto import Vault, batch_place
from app.domain.ids import DestinationId
from app.store import PipelineConnection, columns_of, execute, fetch_map, fetch_rows, fetch_scalar, read_sql
from app.store.database import damage

SQL: Final = read_sql(__file__)


def secret_place(name: str) -> str:
    """Return the place of a secret of the service."""
    return f"secrets/{name}"


def refresh_place(destination: DestinationId) -> str:
    """Return the place of a refresh token."""
    return f"sign_ins.refresh_token/{destination}"


def access_place(destination: DestinationId) -> str:
    """Return the place of an access token."""
    return f"sign_ins.access_token/{destination}"


def verifier_place(state_hash: bytes) -> str:
    """Return the place of the code verifier of a sign-in in progress."""
    return f"oauth_states.code_verifier/{state_hash.hex()}"


def erasure_place(id: str) -> str:
    """Return the place of the search values of an erasure."""
    return f"erasure:{id}"


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values.

    `key` is the column that identifies a row, and `kind` is the type of this column. `place` returns the
    place of a row.
    """

    table: str
    column: str
    key: str
    kind: str
    place: Callable[[Any], str]


# Every column with sealed values.
COLUMNS = (
    SealedColumn("secrets", "sealed", "name", "text", secret_place),
    SealedColumn("sign_ins", "refresh_token", "destination", "text", refresh_place),
    SealedColumn("sign_ins", "access_token", "destination", "text", access_place),
    SealedColumn("oauth_states", "code_verifier", "state_hash", "bytea", verifier_place),
    SealedColumn("erasures", "sealed", "id", "text", erasure_place),
    SealedColumn("batch_states", "data_key", "batch", "bigint", batch_place),
)


@dataclass(frozen=True, slots=True, repr=False)
class SealedValue:
    """A sealed value, and the `key` that identifies its row."""

    key: Any
    value: bytes


async def count_older(connection: PipelineConnection, of: SealedColumn, writes: str) -> int:
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
    return [SealedValue(row["key"], row["value"]) for row in found.rows]


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


# --- Secrets that the service generates for itself once -------------------------------------------


async def keep_secret(connection: PipelineConnection, vault: Vault, name: str, fresh: bytes) -> bytes:
    """Store `fresh` encrypted as the secret of this name, unless one is stored. Return the stored secret.

    Raises CannotDecrypt.
    """
    await connection.execute(SQL["keep_secret"], name, vault.seal(fresh, place=secret_place(name)))
    sealed = await read_secret(connection, name)
    assert sealed is not None
    return vault.open(sealed, place=secret_place(name))


async def read_secret(connection: PipelineConnection, name: str) -> bytes | None:
    """Return the encrypted secret with this name, or None."""
    sealed: bytes | None = await connection.fetchval("SELECT sealed FROM secrets WHERE name = $1", name)
    return sealed


# --- How often each key was used ------------------------------------------------------------------
#
# An upper bound from batch ids, without a counter. A key encrypts the data key of each batch, and a few other
# values (tokens, erasures). The uses of a new key are counted from the oldest batch that is stored then,
# because a rotation encrypts all stored data keys again.


async def note_key(connection: PipelineConnection, key: str) -> None:
    """Record the batch from which the uses of a key are counted. Does nothing for a known key."""
    await connection.execute(SQL["note_key"], key)


async def is_key_used(connection: PipelineConnection, key: str) -> bool:
    """Return whether a process has ever encrypted with the key of this id."""
    statement = "SELECT EXISTS (SELECT FROM encryption_keys WHERE id = $1)"
    return await fetch_scalar(connection, bool, statement, key)


async def seals(connection: PipelineConnection) -> Mapping[str, int]:
    """Return an upper bound of the data keys that each encryption key has encrypted, by its id."""
    return await fetch_map(connection, SQL["seals"])
