"""`rotate-keys`: everything that is sealed is sealed anew under the first of ENCRYPTION_KEYS.

Parcels are not read: each has a data key of its own, and only that is sealed anew. Batch by batch, each
committed by itself, so that it can be stopped at any moment and run again; what is done is not done twice.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.resources import Resources, opened
from app.settings import Settings
from app.store import rewrapping
from app.store.rewrapping import Column
from app.vault import Unopenable, Vault

_AT_ONCE = 500


@dataclass(slots=True)
class Progress:
    """How far one column is; `lost` says what does not open any more."""

    column: Column
    of: int
    done: int = 0
    lost: set[str] = field(default_factory=set)


def run(settings: Settings, _asked: argparse.Namespace) -> int:
    """Seal everything anew and print how far it is; ends with 1 when something cannot be opened."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    lost: set[str] = set()
    async with opened(settings, role="rotate-keys", pool_size=1) as resources:
        sys.stdout.write(f"Sealing under {resources.vault.writes}.\n")
        async for progress in rewrapped(resources):
            table, column = progress.column.table, progress.column.column
            sys.stdout.write(f"  {table}.{column}: {progress.done:,} of {progress.of:,}\n")
            sys.stdout.flush()
            lost |= progress.lost
    if lost:
        sys.stdout.write(
            f"Left as it is, since it does not open: what is sealed under {', '.join(sorted(lost))}.\n"
        )
        return 1
    sys.stdout.write(
        "Done. Processes that still write under an older key must be restarted before it is removed.\n"
    )
    return 0


async def rewrapped(resources: Resources) -> AsyncIterator[Progress]:
    """Work through every column, and yield after each batch how far it is."""
    async with resources.pool.acquire() as connection:
        for column in rewrapping.COLUMNS:
            progress = Progress(column, await rewrapping.count(connection, column, resources.vault.writes))
            yield progress
            after = None
            while batch := await rewrapping.older(
                connection, column, resources.vault.writes, after=after, limit=_AT_ONCE
            ):
                after = batch[-1].key
                old, new = [], []
                for one in batch:
                    fresh = _fresh(resources.vault, column, one, progress)
                    if fresh is not None:
                        old.append(one)
                        new.append(fresh)
                progress.done += await rewrapping.replace(connection, column, old, new)
                yield progress


def _fresh(vault: Vault, column: Column, one: rewrapping.Sealed, progress: Progress) -> bytes | None:
    place = column.place(one.key)
    try:
        return vault.seal(vault.open(one.value, place=place), place=place)
    except Unopenable:
        progress.lost.add(f"{column.table} under {_key_id(one.value)}")
        return None


def _key_id(sealed: bytes) -> str:
    return sealed[1 : 1 + sealed[0]].decode("ascii", "replace")
