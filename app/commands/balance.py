"""`balance`: do ledger, batches, states, exceptions and counts say the same of every event?"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import date
from typing import Any

from app.delivery.balance_check import BalanceCheck, BalanceScope
from app.processes.resources import open_resources
from app.settings import Settings
from app.store import balance


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--days", type=_number, help="check only the newest days; default: all that are kept")


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Check every event that is kept and print what does not add up; end with 1 when anything does not."""
    return asyncio.run(_run(settings, asked))


async def _run(settings: Settings, asked: argparse.Namespace) -> int:
    def newest(kept: Sequence[date]) -> Sequence[date]:
        return kept[: asked.days]

    async with open_resources(settings, role="balance", pool_size=1) as resources:
        check = BalanceCheck(resources.pool, BalanceScope(days=newest))
        async for _ in check.pages():
            pass
        report = check.report()
        async with resources.pool.acquire() as connection:
            await balance.finish(
                connection, imbalance=check.imbalance, batches=check.batches, mismatches=report
            )
    if asked.json:
        told = {"imbalance": check.imbalance, "batches": check.batches, "mismatches": report}
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        sys.stdout.writelines(f"{sentence(one)}\n" for one in report)
        verdict = "All adds up" if not check.imbalance else f"{check.imbalance:,} events do not add up"
        sys.stdout.write(f"{verdict}. {check.batches:,} batches were checked.\n")
    return int(check.imbalance > 0)


_SENTENCES = {
    "state_missing": "are in a batch without a state: nothing will send them",
    "batch_missing": "have a state but no batch: they cannot be sent",
    "exception_without_batch": "have an exception but no batch",
    "ledger_missing": "are not in the ledger: sent again, they would be accepted again",
    "ledger_elsewhere": "stand in the ledger under another place",
    "twin": "are in a batch whose id was given twice",
    "batch_count": "are missing from, or too many in, what the state of their batch says",
    "unreadable": "batches cannot be read: their page or row is damaged",
    "accepted_count": "is by how much the count of accepted events is wrong",
    "waiting_count": "is by how much the count of waiting events is wrong",
    "retrying_count": "is by how much the count of retrying events is wrong",
    "dead_count": "is by how much the count of dead events is wrong",
    "expired_count": "is by how much the count of expired events is wrong",
    "erased_count": "is by how much the count of erased events is wrong",
}


def sentence(mismatch: dict[str, Any]) -> str:
    """Return a mismatch as a line to read."""
    where = mismatch["destination_id"] or "unknown destination"
    when = f" on {mismatch['day']}" if mismatch["day"] else ""
    return f"{where}{when}: {mismatch['events']:,} {_SENTENCES[mismatch['kind']]} ({mismatch['kind']})."


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
