"""`balance`: check that the counts of events agree with the stored events, batches and idempotency keys."""

import argparse
import json
from typing import Any

from app.commands import days
from app.delivery.balance_check import BalanceCheck
from app.domain.quantity import quantity
from app.processes.resources import open_resources
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--days", type=days, help="check only the newest days; default: all stored days")


async def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Check every stored event and print the mismatches. Return 1 if there are any."""
    async with open_resources(settings, role="balance", pool_size=1) as resources:
        check = BalanceCheck(resources.pool, days=asked.days)
        async for _ in check.pages():
            pass
        report = await check.finish()
    if asked.json:
        print(json.dumps({"imbalance": check.imbalance, "batches": check.batches, "mismatches": report}))
    else:
        for mismatch in report:
            print(sentence(mismatch))
        verdict = quantity(check.imbalance, "mismatched event") if check.imbalance else "No mismatches"
        print(f"{verdict} in {quantity(check.batches, 'batch', 'batches')}.")
    return int(check.imbalance > 0)


_ARE = ("event is", "events are")
_HAVE = ("event has", "events have")
_DIFFER = ("event differs", "events differ")
# The beginning of the sentence for one and for several, and the rest.
_SENTENCES = {
    "state_missing": (_ARE, "in a batch without a state and will not be sent"),
    "batch_missing": (_HAVE, "a state but no batch and cannot be sent"),
    "exception_without_batch": (_HAVE, "an exception but no batch"),
    "ledger_missing": (_ARE, "not in the ledger: a duplicate would be accepted"),
    "ledger_elsewhere": (_ARE, "in the ledger under another batch or position"),
    "twin": (_ARE, "in a batch with a duplicate id"),
    "batch_count": (_DIFFER, "between a batch and the count in its state"),
    "unreadable": (("batch is unreadable: its", "batches are unreadable: their"), "page or row is damaged"),
    **{
        f"{name}_count": (_DIFFER, f"between the count of {name} events and the stored events")
        for name in ("accepted", "waiting", "retrying", "dead", "expired", "erased")
    },
}


def sentence(mismatch: dict[str, Any]) -> str:
    """Return a mismatch of the balance check's report as a sentence."""
    where = mismatch["destination_id"] or "unknown destination"
    when = f" on {mismatch['day']}" if mismatch["day"] else ""
    (one, several), rest = _SENTENCES[mismatch["kind"]]
    return f"{where}{when}: {quantity(mismatch['events'], one, several)} {rest} ({mismatch['kind']})."
