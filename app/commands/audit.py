"""`audit verify`: is the audit what was written, row by row?"""

import argparse
import asyncio
import re
import sys

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.audit_chain import ChainBroken, ChainHead, verify
from app.processes.resources import open_resources
from app.settings import Settings
from app.store import audit

_AT_ONCE = 1_000
_HASH = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("action", choices=["verify"], help="follow the chain of hashes from its first row")
    parser.add_argument(
        "--head",
        type=_hash,
        metavar="HASH",
        help="a head that an earlier run printed: its row must still be in the chain",
    )


def _hash(text: str) -> str:
    """Read a hash as the command prints it."""
    if not _HASH.fullmatch(text.strip()):
        raise argparse.ArgumentTypeError(
            "a head is a hash of 64 hexadecimal digits, as an earlier run printed"
        )
    return text.strip().lower()


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Print the head of an unbroken chain, or name the first row that breaks it and end with 1."""
    return asyncio.run(_run(settings, asked.head))


async def _run(settings: Settings, head: str | None) -> int:
    async with open_resources(settings, role="audit", pool_size=1) as resources:
        last, known = await followed(resources.engine, head)
    if isinstance(last, ChainBroken):
        sys.stdout.write(f"The chain breaks at audit row {last.id}. {last.sentence}\n")
        return 1
    if not known:
        sys.stdout.write(
            "The chain holds, but no row has the hash of --head: rows at its end were deleted, or it is "
            "the hash of another database.\n"
        )
        return 1
    sys.stdout.write(f"The chain of {last.rows:,} rows holds. Its head is {last.hash.hex()}\n")
    return 0


async def followed(engine: AsyncEngine, head: str | None = None) -> tuple[ChainHead | ChainBroken, bool]:
    """Verify the chain. Return its last or its broken link, and whether `head` is None or a hash in it."""
    known, last = head is None, ChainHead(0, bytes(32))
    async with engine.connect() as connection:
        # One snapshot: actions that commit meanwhile are checked by the next run.
        await connection.execution_options(isolation_level="REPEATABLE READ")
        for unlinked in await audit.unlinked(connection):
            return verify([unlinked]), known
        while links := await audit.chain(connection, after=last.rows, limit=_AT_ONCE):
            known = known or any(link.hash is not None and link.hash.hex() == head for link in links)
            found = verify(links, last)
            if isinstance(found, ChainBroken):
                return found, known
            last = found
    return last, known
