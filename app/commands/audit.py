"""`audit verify`: is the audit what was written, row by row?"""

import argparse
import asyncio
import sys

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.audit_chain import ChainBroken, ChainHead, verify
from app.processes.resources import open_resources
from app.settings import Settings
from app.store import audit

_AT_ONCE = 1_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("action", choices=["verify"], help="follow the chain of hashes from its first row")
    parser.add_argument(
        "--head",
        metavar="HASH",
        help="a hash that an earlier run printed: a chain cut off behind it is found",
    )


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Print the head of a chain that holds, or name the first row that does not; then end with 1."""
    return asyncio.run(_run(settings, asked.head))


async def _run(settings: Settings, head: str | None) -> int:
    async with open_resources(settings, role="audit", pool_size=1) as resources:
        told, known = await followed(resources.engine, head)
    if isinstance(told, ChainBroken):
        sys.stdout.write(f"The chain breaks at audit row {told.id}. {told.sentence}\n")
        return 1
    if not known:
        sys.stdout.write("The chain holds, but the hash of --head is nowhere in it: its end was cut off.\n")
        return 1
    sys.stdout.write(f"The chain of {told.rows:,} rows holds. Its head is {told.hash.hex()}\n")
    return 0


async def followed(engine: AsyncEngine, head: str | None = None) -> tuple[ChainHead | ChainBroken, bool]:
    """Follow the whole chain; also return whether `head` is the hash of one of its rows (or None given)."""
    known, told = head is None, ChainHead(0, bytes(32))
    async with engine.connect() as connection:
        # One snapshot: acts that commit meanwhile are for the next run.
        await connection.execution_options(isolation_level="REPEATABLE READ")
        for unlinked in await audit.unlinked(connection):
            return verify([unlinked]), known
        while links := await audit.chain(connection, after=told.rows, limit=_AT_ONCE):
            known = known or any(one.hash is not None and one.hash.hex() == head for one in links)
            found = verify(links, told)
            if isinstance(found, ChainBroken):
                return found, known
            told = found
    return told, known
