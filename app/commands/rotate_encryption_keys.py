"""`rotate-keys`: re-encrypt every data key and token with the first of ENCRYPTION_KEYS.

The content of batches is not read: only their data keys are re-encrypted. Each group of rows is committed on
its own, so the command can be stopped at any time, and a new run continues.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from app.crypto import CannotDecrypt, Vault, key_id_of
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.store import PipelineConnection, sealed_values
from app.store.damage import is_damage, name_of, newest_batch
from app.store.sealed_values import SealedColumn, SealedValue

_ROWS = 500


@dataclass(slots=True)
class RotationProgress:
    """The progress of one column; `lost` names values that cannot be decrypted."""

    column: SealedColumn
    of: int
    done: int = 0
    lost: set[str] = field(default_factory=set)


def run(settings: Settings, _asked: argparse.Namespace) -> int:
    """Re-encrypt every value and print the progress; return 1 if a value cannot be decrypted."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    lost: set[str] = set()
    async with open_resources(settings, role="rotate-keys", pool_size=1) as resources:
        sys.stdout.write(f"Re-encrypting with key {resources.vault.writes}.\n")
        async for progress in rotate(resources):
            table, column = progress.column.table, progress.column.column
            sys.stdout.write(f"  {table}.{column}: {progress.done:,} of {progress.of:,}\n")
            sys.stdout.flush()
            lost |= progress.lost
    if lost:
        sys.stdout.write(
            f"Not re-encrypted, because they cannot be decrypted: values under {', '.join(sorted(lost))}.\n"
        )
        return 1
    sys.stdout.write("Done. Before you remove an older key, restart processes that still encrypt with it.\n")
    return 0


async def rotate(resources: Resources) -> AsyncIterator[RotationProgress]:
    """Re-encrypt every column; yield the progress after each group of rows."""
    writes = resources.vault.writes
    async with resources.pool.acquire() as connection:
        for column in sealed_values.COLUMNS:
            progress = RotationProgress(column, 0)
            try:
                progress.of = await sealed_values.count(connection, column, writes)
            except Exception as error:
                _note_damage(error, progress)
            yield progress
            async for batch in _older(connection, column, writes, progress):
                old, new = [], []
                for one in batch:
                    fresh = _fresh(resources.vault, column, one, progress)
                    if fresh is not None:
                        old.append(one)
                        new.append(fresh)
                progress.done += await sealed_values.replace(connection, column, old, new)
                yield progress


async def _older(
    connection: PipelineConnection, column: SealedColumn, writes: str, progress: RotationProgress
) -> AsyncIterator[list[SealedValue]]:
    """Yield the values to re-encrypt; skip rows on a damaged page and record them."""
    after: Any = None
    try:
        while batch := await sealed_values.sealed_under_other_keys(
            connection, column, writes, after=after, limit=_ROWS
        ):
            after = batch[-1].key
            yield batch
        return
    except Exception as error:
        _note_damage(error, progress)
    if column.kind != "bigint":
        return  # a few rows; rows behind the damage wait until it is repaired
    last = await newest_batch(connection)
    for first in range((after or 0) + 1, last + 1, _ROWS):
        to = min(first + _ROWS - 1, last)
        batch, _ = await sealed_values.older_between(connection, column, writes, first=first, last=to)
        if batch:
            yield batch


def _note_damage(error: Exception, progress: RotationProgress) -> None:
    if not is_damage(error):
        raise error
    progress.lost.add(f"{progress.column.table}, a damaged page ({name_of(error)})")


def _fresh(
    vault: Vault, column: SealedColumn, one: sealed_values.SealedValue, progress: RotationProgress
) -> bytes | None:
    place = column.place(one.key)
    try:
        return vault.seal(vault.open(one.value, place=place), place=place)
    except CannotDecrypt:
        progress.lost.add(f"{column.table} under {_key_id(one.value)}")
        return None


def _key_id(sealed: bytes) -> str:
    try:
        name = key_id_of(sealed)
    except CannotDecrypt:
        return "a damaged name"
    return name if name.isascii() and name.isprintable() and name else "a damaged name"
