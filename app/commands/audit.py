"""`audit verify`: check that no audit row was changed, deleted or inserted."""

import argparse
import re

from app.admin.audit import follow_chain
from app.domain.audit_chain import ChainBroken
from app.domain.quantity import quantity
from app.processes.resources import open_resources
from app.settings import Settings
from app.store.organisations.scope import EVERY


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["verify"], help="verify the hash chain from its first row")
    parser.add_argument(
        "--head",
        type=_hash,
        metavar="HASH",
        help="a hash printed by an earlier run or logged as audit.head: its row must still be in the chain",
    )


def _hash(text: str) -> str:
    """Parse a hash in the form that the command prints."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise argparse.ArgumentTypeError(
            "must be a hash of 64 hexadecimal digits, as printed by an earlier run"
        )
    return text.strip().lower()


async def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Print the hash of the newest row. If the hash chain is broken, print where it breaks and return 1."""
    async with open_resources(settings, role="audit", pool_size=1) as resources:
        result = await follow_chain(resources.engine_of(EVERY), asked.head)
    if isinstance(result.chain, ChainBroken):
        print(f"The chain breaks at audit row {result.chain.id}. {result.chain.sentence}")
        return 1
    if not result.is_known:
        print(
            "The chain is valid, but no row has the hash of --head: rows at its end were deleted, or the "
            "hash is from another database."
        )
        return 1
    print(
        f"The chain of {quantity(result.chain.rows, 'row')} is valid. Its head is {result.chain.hash.hex()}"
    )
    return 0
