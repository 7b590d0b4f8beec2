"""`./run campaign proxies --requests 100000 --seed 1`: the long form of the traffic behind proxies.

Prints, for each proxy, what was sent, what came back and the reconciliation with what is stored; ends with 1
when anything does not add up.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from campaigns.edge.traffic import Ledger, reconcile, run
from campaigns.running import commit, throwaway_database
from tests.edge.proxies import haproxy, nginx
from tests.edge.service import EdgeService, running_service

CALLERS = 12
PROXIES: dict[str, Callable[[int, Path], AbstractContextManager[int]]] = {
    "nginx": nginx,
    "nginx, one kept connection, no buffering": lambda port, folder: nginx(
        port, folder, kept=1, buffering=False
    ),
    "haproxy": haproxy,
}


def report(name: str, ledger: Ledger, totals: dict[str, int], took_s: float) -> str:
    """Return the account of one proxy."""
    lines = [
        f"{name}: {ledger.requests} requests in {took_s:.0f} s",
        f"  legal    {sum(ledger.sent.values())}: {_listed(ledger.sent)}",
        f"  statuses {_listed(ledger.statuses)}",
        f"  hostile  {sum(ledger.hostile.values())}: {_listed(ledger.hostile)}",
        f"  statuses {_listed(ledger.hostile_statuses)}",
        f"  events   {_listed(totals)}",
        f"  problems {len(ledger.problems)}",
    ]
    return "\n".join([*lines, *(f"    {problem}" for problem in ledger.problems[:20])])


def _listed(counts: dict[str, int] | dict[int, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items(), key=lambda item: -item[1]))


def campaign(service: EdgeService, folder: Path, names: list[str], requests: int, seed: int) -> bool:
    """Send so many requests through each proxy; tells whether all of it added up."""
    good = True
    for number, name in enumerate(names):
        begun, own_seed = time.monotonic(), seed * 10 + number
        with PROXIES[name](service.port, folder / str(number)) as port:
            ledger = asyncio.run(run(service, port, requests=requests, seed=own_seed))
        took_s = time.monotonic() - begun
        print(report(name, ledger, reconcile(service, ledger), took_s), flush=True)
        good = good and not ledger.problems
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="through each proxy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--proxy", action="append", choices=list(PROXIES), help="only this one")
    options = parser.parse_args()
    print(f"commit {commit()}, seed {options.seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="conversions-edge-") as folder,
        throwaway_database() as url,
        running_service(url, Path(folder), CALLERS) as service,
    ):
        good = campaign(service, Path(folder), options.proxy or list(PROXIES), options.requests, options.seed)
    print("every response belonged to its request" if good else "NOT every response belonged to its request")
    return 0 if good else 1
