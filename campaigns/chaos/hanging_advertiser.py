"""Measure what advertisers whose Amazon hangs cost the others: `./run campaign hanging-advertiser`.

Six advertisers; none, one and two of them in turn never get an answer, over several rounds. The p99 of the
others must be at most 1.5 times what it is where none hangs. With one worker, or with `--workers 2`.
"""

import argparse
import asyncio
import sys

from campaigns.chaos.liveness import loaded, percentile, summary_of

MOST = 1.5
# What lies below is the machine's noise, not a wait for a place.
FLOOR_S = 0.05


async def measure(workers: int, seconds: float, rounds: int) -> int:
    """Print what was seen; return 0 where it is as promised."""
    async with loaded(workers) as load:
        await load.run(12)
        others = range(2, len(load.destinations))
        spans: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):  # interleaved: the machine's own changes of speed meet all alike
            for hanging in (0, 1, 2):
                for place in (0, 1):
                    faults = [{"kind": "never"}] if place < hanging else []
                    await load.operator.faults(load.destinations[place].advertiser, faults)
                spans.setdefault(f"{hanging} hanging", []).append(await load.run(seconds))
        for one in load.destinations:
            await load.operator.faults(one.advertiser, [])
        seen = await load.settle(120)
        print(f"workers {workers}; p50 / p99 / longest wait of the {len(others)} others, in seconds")
        p99 = {}
        for name, parts in spans.items():
            waits = [one for place in others for span in parts for one in load.waits(span, seen)[place]]
            p99[name] = max(FLOOR_S, percentile(waits, 0.99))
            print(f"  {name}: {summary_of(waits)} of {len(waits)}")
        ratios = {name: p99[name] / p99["0 hanging"] for name in ("1 hanging", "2 hanging")}
        taken = {one for request in seen for one, ok in zip(request.ids, request.taken, strict=True) if ok}
        left = len(load.accepted.keys() - taken)
        print({name: round(ratio, 2) for name, ratio in ratios.items()}, f"undelivered {left}")
        return 0 if max(ratios.values()) <= MOST and not left else 1


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="./run campaign hanging-advertiser", description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=3, help="of none, one and two that hang")
    options = parser.parse_args()
    return asyncio.run(measure(options.workers, options.seconds, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
