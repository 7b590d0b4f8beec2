"""`balance`: check that the counts of events agree with the stored events, batches and idempotency keys."""

import argparse
import json
from typing import Any

from app.commands.argument_types import days
from app.delivery.balance_check import BalanceCheck
from app.processes.resources import open_resources
from app.settings import Settings
from app.store.database import balance


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--days", type=days, help="check only the newest days; default: all stored days")


async def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Check every stored event and print the mismatches. Return 1 if there are any."""
    async with open_resources(settings, role="balance", pool_size=1) as resources:
        check = BalanceCheck(resources.pool, days=asked.days)
        async for _ in check.pages():
            pass
        report = check.report()
        async with resources.pool.acquire() as connection:
            await balance.finish(
                connection, imbalance=check.imbalance, batches=check.batches, mismatches=report
            )
    if asked.json:
        print(json.dumps({"imbalance": check.imbalance, "batches": check.batches, "mismatches": report}))
    else:
        for mismatch in report:
            print(sentence(mismatch))
        verdict = "No mismatches" if not check.imbalance else f"{check.imbalance:,} mismatched events"
        print(f"{verdict} in {check.batches:,} batches.")
    return int(check.imbalance > 0)


_SENTENCES = {
    "state_missing": "events are in a batch without a state and will not be sent",
    "batch_missing": "events have a state but no batch and cannot be sent",
    "exception_without_batch": "events have an exception but no batch",
    "ledger_missing": "events are not in the ledger: a duplicate would be accepted",
    "ledger_elsewhere": "events are in the ledger under another batch or position",
    "twin": "events are in a batch with a duplicate id",
    "batch_count": "events differ between a batch and the count in its state",
    "unreadable": "batches are unreadable: their page or row is damaged",
    **{
        f"{name}_count": f"events differ between the count of {name} events and the stored events"
        for name in ("accepted", "waiting", "retrying", "dead", "expired", "erased")
    },
}


def sentence(mismatch: dict[str, Any]) -> str:
    """Return a mismatch of the balance check's report as a sentence."""
    where = mismatch["destination_id"] or "unknown destination"
    when = f" on {mismatch['day']}" if mismatch["day"] else ""
    return f"{where}{when}: {mismatch['events']:,} {_SENTENCES[mismatch['kind']]} ({mismatch['kind']})."
