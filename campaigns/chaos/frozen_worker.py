"""Measure what a frozen worker costs: `./run campaign frozen-worker`.

Two workers, six advertisers, SIGSTOP to one worker: its lanes must move within 75 s, the others go on as
before, and the worker that is thawed after that sends nothing twice.
"""

import argparse
import asyncio
import signal
import sys

import asyncpg

from campaigns.chaos.liveness import evaluated, loaded, percentile, summary_of

MOST_S = 75.0


async def measure(seconds: float) -> int:
    """Print what was seen; return 0 where it is as promised."""
    async with loaded(workers=2) as load:
        await load.run(12)  # lanes find their owners, connections are opened
        alone = await load.run(20)
        owners = await load.stage.ask(
            "SELECT d.id, l.owner FROM destinations d JOIN lanes l ON l.id = d.lane"
        )
        victim = load.stage.workers[0]
        assert victim.running is not None
        mark = f"-{victim.running.pid}-"
        moved = [n for n, one in enumerate(load.destinations) if mark in _owner(owners, one.number)]
        stayed = [n for n in range(len(load.destinations)) if n not in moved]
        victim.signal(signal.SIGSTOP)
        frozen = await load.run(seconds)
        victim.signal(signal.SIGCONT)
        thawed = await load.run(20)
        seen = await load.settle(60)
        before, during, after = (load.waits(span, seen) for span in (alone, frozen, thawed))
        print(f"lanes of the frozen worker {len(moved)}, of the other {len(stayed)}; events {load.number}")
        print("p50 / p99 / longest wait in seconds")
        for name, waits in (("before", before), ("while frozen", during), ("after the thaw", after)):
            theirs, others = summary_of(_all(waits, moved)), summary_of(_all(waits, stayed))
            print(f"  {name}: lanes of the frozen worker {theirs}; others {others}")
        print(evaluated(seen))
        longest = max(_all(during, moved), default=0.0)
        ratio = percentile(_all(during, stayed), 0.99) / percentile(_all(before, stayed), 0.99)
        everything = [one for waits in (before, during, after) for one in _all(waits, range(6))]
        undelivered = sum(one == float("inf") for one in everything)
        print(
            f"lanes moved after {longest:.1f} s; p99 of the others × {ratio:.2f}; undelivered {undelivered}"
        )
        return 0 if moved and stayed and longest <= MOST_S and not undelivered else 1


def _owner(rows: list[asyncpg.Record], destination: str) -> str:
    return next(row["owner"] or "" for row in rows if row["id"] == destination)


def _all(waits: dict[int, list[float]], of: object) -> list[float]:
    return [one for place in of for one in waits[place]]  # type: ignore[attr-defined]


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="./run campaign frozen-worker", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="how long the worker stands still")
    return asyncio.run(measure(parser.parse_args().seconds))


if __name__ == "__main__":
    sys.exit(main())
