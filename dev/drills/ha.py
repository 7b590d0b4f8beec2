"""The drill for high availability: break a Patroni cluster in every usual way under load, and count lost events.

It runs Debian's Patroni, etcd, Postgres and HAProxy with the files of deploy/patroni, as root.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dev.drills.ha_report import Round, gaps, table
from dev.drills.load import Load
from dev.drills.patroni import NODES, PACKAGES, PatroniCluster, missing
from dev.drills.stage import DrillFailed, Stage
from dev.drills.write_probe import CREATE, WriteProbe

BEFORE_S, AFTER_S = 3, 3  # load before the fault, and after the service answers again
RECOVERED_WITHIN_S = 60.0  # then the fault is repaired, and the round counts as not recovered
LAGGING_S = 1.5  # how long the standbys receive nothing before the primary is killed


@dataclass(frozen=True, slots=True)
class ClusterFault:
    """A fault of the cluster, and its repair, which begins only when the service works again.

    `inject` and `repair` get the node that was the primary. `limit_s` is the target for the time without a 202.
    """

    name: str
    inject: Callable[[str], None]
    repair: Callable[[str], None]
    limit_s: float | None
    may_lose: bool = False


def faults(cluster: PatroniCluster, stage: Stage) -> list[ClusterFault]:
    """Return the faults of a synchronous cluster."""

    def standby(primary: str) -> str:
        return next(node for node in NODES if node != primary)

    def thaw(node: str) -> None:
        cluster.signal(node, signal.SIGCONT)

    def lose_etcd_leader(_primary: str) -> None:
        node = cluster.etcd_leader()
        cluster.signal(node, signal.SIGKILL, program="etcd")

    def run_all(_primary: str) -> None:
        for node in NODES:
            cluster.run(node)

    def restart_all(primary: str) -> None:
        for node in [*(each for each in NODES if each != primary), primary]:
            if node == primary:
                # Patroni's way: lead elsewhere first, then restart what is a standby now.
                cluster.ask(node, "POST", "/switchover", {"leader": node})
                cluster.settle()
            cluster.ask(node, "POST", "/restart", {})
            cluster.settle()

    return [
        ClusterFault("primary node killed", lambda node: cluster.signal(node, signal.SIGKILL), cluster.run, 27),
        ClusterFault("only Postgres killed", lambda node: cluster.signal(node, signal.SIGKILL, program="postgres"), cluster.run, 15),
        ClusterFault("primary node frozen and left frozen", lambda node: cluster.signal(node, signal.SIGSTOP), thaw, 27),
        ClusterFault(
            "network of the primary node cut",
            lambda node: cluster.plug(node, connected=False),
            lambda node: cluster.plug(node, connected=True),
            27,
        ),
        ClusterFault("etcd leader killed", lose_etcd_leader, run_all, None),
        ClusterFault("a standby node frozen", lambda node: cluster.signal(standby(node), signal.SIGSTOP), lambda node: thaw(standby(node)), None),
        ClusterFault("planned switchover", lambda node: cluster.ask(node, "POST", "/switchover", {"leader": node}), cluster.run, 6),
        ClusterFault("disk of the primary full", cluster.fill, cluster.empty, None),
        ClusterFault("rolling restart of all", restart_all, cluster.run, None),
        lagging(cluster, stage, may_lose=False),
    ]  # fmt: skip


def lagging(cluster: PatroniCluster, stage: Stage, *, may_lose: bool) -> ClusterFault:
    """Return the fault in which the standbys receive nothing for a moment, and then the primary node is killed."""

    def inject(primary: str) -> None:
        standbys = [node for node in NODES if node != primary]
        # What workers deliver meanwhile would not be lost.
        workers = [child for name, child in stage.children.items() if name.startswith("worker")]
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        for node in standbys:
            cluster.signal(node, signal.SIGSTOP, program="postgres", title="walreceiver")
        time.sleep(LAGGING_S)
        cluster.signal(primary, signal.SIGKILL)
        for node in standbys:
            # What waits in the receiver's socket is lost too, as on a machine that dies.
            for how in (signal.SIGTERM, signal.SIGCONT):
                cluster.signal(node, how, program="postgres", title="walreceiver")
        for worker in workers:
            worker.send_signal(signal.SIGCONT)

    return ClusterFault("standbys lag, then the primary node is killed", inject, cluster.run, 27, may_lose)


def play(stage: Stage, cluster: PatroniCluster, fault: ClusterFault, name: str) -> Round:
    """Play a round: load, fault, recovery, repair, and the comparison with what Amazon got."""
    before = stage.delivered()[1]
    load, probe = Load(stage, name=name), WriteProbe([cluster.server_url(node) for node in NODES])
    load.start()
    probe.start()
    time.sleep(BEFORE_S)
    primary, began = cluster.leader(), time.time()
    fault.inject(primary)
    time.sleep(1)
    is_manual = not _recovers(load, began)
    if is_manual:
        fault.repair(primary)
        _recovers(load, time.time())
    time.sleep(AFTER_S)
    ended = time.time()
    if not is_manual:
        fault.repair(primary)
    load.stop(answered=True)
    probe.stop()
    try:
        cluster.settle()
    except DrillFailed:
        is_manual = True
        for node in NODES:
            if not cluster.follows(node):
                cluster.signal(node, signal.SIGKILL)
                cluster.run(node)
        cluster.settle()
    stage.drain()
    ids, totals = stage.delivered()
    posts = [at.timestamp() for at in load.accepted.values()]
    return Round(
        fault.name, gaps(posts, began, ended), gaps(probe.accepted, began, ended), len(load.accepted),
        len(load.accepted.keys() - ids), totals["other_bytes"] - before["other_bytes"],
        totals["repeats"] - before["repeats"], is_manual, fault.limit_s, fault.may_lose,
    )  # fmt: skip


def _recovers(load: Load, began: float) -> bool:
    """Wait until posts have been accepted for three seconds without a pause of a second."""
    until, steady = time.time() + RECOVERED_WITHIN_S, 0
    while steady < 3 and time.time() < until:
        accepted = len(load.accepted)
        time.sleep(1)
        steady = steady + 1 if len(load.accepted) > accepted else 0
    return steady >= 3


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Run the drill. Return its report, and True if every round met every target."""
    if lacking := missing():
        raise DrillFailed(f"The drill needs {', '.join(lacking)} (Debian: {' '.join(PACKAGES)}).")
    rounds = [
        *_rounds(PatroniCluster(folder / "direct"), asked, faults),
        *_rounds(PatroniCluster(folder / "control", synchronous=False), asked, lambda *of: [lagging(*of, may_lose=True)]),
        *_rounds(PatroniCluster(folder / "proxy", behind_proxy=True), asked, faults),
    ]  # fmt: skip
    problems = [problem for each in rounds for problem in each.problems()]
    lost = sum(each.lost for each in rounds if not each.may_lose)
    report = f"""High availability drill, {datetime.now(UTC):%d %B %Y}, load {os.getloadavg()[1]:.0f}: {sum(each.accepted for each in rounds):,} events accepted

{table(rounds)}

Missed targets: {"; ".join(problems) or "none"}

Lost events: {lost}
"""
    return report, not problems and bool(rounds)


def _rounds(
    cluster: PatroniCluster,
    asked: argparse.Namespace,
    faults_of: Callable[[PatroniCluster, Stage], Sequence[ClusterFault]],
) -> Iterator[Round]:
    """Play the rounds of a cluster, and print each at its end."""
    stage = Stage(cluster.folder)
    chosen = [
        fault for fault in faults_of(cluster, stage) if (asked.fault or "") in cluster.title + fault.name
    ]
    if not chosen:
        return
    cluster.folder.mkdir(mode=0o755)
    try:
        cluster.start()
        cluster.execute(CREATE)
        stage.open(workers=2, apis=2, url=cluster.url)
        for number, fault in enumerate(fault for fault in chosen for _ in range(asked.rounds)):
            played = play(stage, cluster, fault, f"round-{number}")
            played = replace(played, fault=cluster.title + played.fault)
            print(
                table([played]).splitlines()[-1], *played.problems(), sep="\n  ", file=sys.stderr, flush=True
            )
            yield played
    finally:
        stage.close()
        cluster.stop()
