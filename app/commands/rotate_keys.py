"""`rotate-keys`: encrypt every stored secret again with the first of ENCRYPTION_KEYS.

Of batches, only the data keys are encrypted again, not the content. Every 500 rows are committed, so the
command can be stopped at any time. The next run continues.
"""

import argparse
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.crypto import CannotDecrypt, Vault, key_id_of
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.store import PipelineConnection, encryption
from app.store.database.damage import is_damage, name_of, newest_batch

_ROWS = 500


@dataclass(slots=True)
class RotationProgress:
    """The progress of one column: `done` of `of` values are encrypted again.

    `lost` names values that cannot be decrypted.
    """

    column: encryption.SealedColumn
    of: int
    done: int = 0
    lost: set[str] = field(default_factory=set)


async def run(settings: Settings, _asked: argparse.Namespace) -> int:
    """Encrypt every value again and print the progress. Return 1 if a value cannot be decrypted."""
    lost: set[str] = set()
    async with open_resources(settings, role="rotate-keys", pool_size=1) as resources:
        print(f"Re-encrypting with key {resources.vault.writes}.")
        async for progress in rotate(resources):
            table, column = progress.column.table, progress.column.column
            print(f"  {table}.{column}: {progress.done:,} of {progress.of:,}", flush=True)
            lost |= progress.lost
    if lost:
        print(f"Not re-encrypted, because they cannot be decrypted: values under {', '.join(sorted(lost))}.")
        return 1
    print("Done. Before you remove an older key, restart processes that still encrypt with it.")
    return 0


async def rotate(resources: Resources) -> AsyncIterator[RotationProgress]:
    """Encrypt the values of every column again. Yield the progress after every 500 rows."""
    writes = resources.vault.writes
    async with resources.pool.acquire() as connection:
        for column in encryption.COLUMNS:
            progress = RotationProgress(column, 0)
            try:
                progress.of = await encryption.count_older(connection, column, writes)
            except Exception as error:
                _note_damage(error, progress)
            yield progress
            async for batch in _older(connection, writes, progress):
                old, new = [], []
                for value in batch:
                    sealed = _reseal(resources.vault, value, progress)
                    if sealed is not None:
                        old.append(value)
                        new.append(sealed)
                progress.done += await encryption.replace(connection, column, old, new)
                yield progress


async def _older(
    connection: PipelineConnection, writes: str, progress: RotationProgress
) -> AsyncIterator[list[encryption.SealedValue]]:
    """Yield the values that are encrypted with an older key.

    Skip rows on a damaged page and record them in `progress`.
    """
    column, after = progress.column, None
    try:
        while batch := await encryption.sealed_under_other_keys(
            connection, column, writes, after=after, limit=_ROWS
        ):
            after = batch[-1].key
            yield batch
        return
    except Exception as error:
        _note_damage(error, progress)
    if column.kind != "bigint":
        return  # The table is small. The rows after the damaged page wait until it is repaired.
    last = await newest_batch(connection)
    for first in range((after or 0) + 1, last + 1, _ROWS):
        to = min(first + _ROWS - 1, last)
        batch = await encryption.older_between(connection, column, writes, first=first, last=to)
        if batch:
            yield batch


def _note_damage(error: Exception, progress: RotationProgress) -> None:
    if not is_damage(error):
        raise error
    progress.lost.add(f"{progress.column.table}, a damaged page ({name_of(error)})")


def _reseal(vault: Vault, old: encryption.SealedValue, progress: RotationProgress) -> bytes | None:
    """Encrypt a value with the current key. If it cannot be decrypted, record it and return None."""
    place = progress.column.place(old.key)
    try:
        return vault.seal(vault.open(old.value, place=place), place=place)
    except CannotDecrypt:
        name = key_id_of(old.value)
        readable = name if name and name.isascii() and name.isprintable() else "a damaged name"
        progress.lost.add(f"{progress.column.table} under {readable}")
        return None
