"""`./run campaign failover --seeds A-B`: the primary dies under load, its standby takes over.

Each seed is a drill (`./run drill failover`) of another length, before whose end of the primary the standby
receives nothing for a while: what would be committed then is on the primary only. Every event that was
answered 202 must be delivered by the service on the standby. The control, `--asynchronous`, must lose.
"""

import argparse
import random
import tempfile
from pathlib import Path

from campaigns.running import commit, say, seeds
from dev.drills.failover import Failover, fail_over


def play(seed: int, *, synchronous: bool = True, apart: float = 1.5) -> Failover:
    """Play one failover."""
    seconds = random.Random(seed).uniform(3, 9)
    with tempfile.TemporaryDirectory(prefix="conversions-failover-") as folder:
        Path(folder).chmod(0o755)
        return fail_over(Path(folder), seconds=seconds, lag_s=apart, synchronous=synchronous)


def line(seed: int, found: Failover) -> str:
    return (
        f"seed {seed}: {'kept' if found.passed else 'BROKEN'}; promoted after {found.promoted_s:.1f} s, "
        f"ready after {found.ready_s:.1f} s; {found.accepted} acknowledged in {found.requests} requests, "
        f"{found.counts['delivered']} delivered, {found.totals['repeats']} sent again, "
        f"{found.totals['other_bytes']} with other content, {found.unaccepted} never accepted, "
        f"{found.lost} lost"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-3", help="A-B, or one seed")
    parser.add_argument("--apart", type=float, default=1.5, help="seconds without replication before the end")
    parser.add_argument("--asynchronous", action="store_true", help="the control: it must lose")
    options = parser.parse_args()
    broken = False
    for seed in seeds(options.seeds):
        found = play(seed, synchronous=not options.asynchronous, apart=options.apart)
        say(f"commit {commit()}, {line(seed, found)}")
        broken |= not found.passed
    return int(broken)
