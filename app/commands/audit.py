"""`audit verify`: is the audit what was written, row by row?"""

import argparse
import asyncio
import re
import sys

from app.admin.audit import follow_chain
from app.domain.audit_chain import ChainBroken
from app.processes.resources import open_resources
from app.settings import Settings

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
        result = await follow_chain(resources.engine, head)
    if isinstance(result.chain, ChainBroken):
        sys.stdout.write(f"The chain breaks at audit row {result.chain.id}. {result.chain.sentence}\n")
        return 1
    if not result.is_known:
        sys.stdout.write(
            "The chain holds, but no row has the hash of --head: rows at its end were deleted, or it is "
            "the hash of another database.\n"
        )
        return 1
    sys.stdout.write(
        f"The chain of {result.chain.rows:,} rows holds. Its head is {result.chain.hash.hex()}\n"
    )
    return 0
