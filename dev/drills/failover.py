"""The failover drill: kill the primary database under load, promote its standby, and count lost events.

`./run campaign failover` repeats it with a standby that lags before, and with one that is not waited for.
"""

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from dev.drills.load import Load
from dev.drills.stage import DrillFailed, Stage, chosen_postgres, with_servers
from dev.postgres.binaries import BARE, Account, Programs, reachable_binaries
from dev.postgres.cluster import ALWAYS, DURABLE, OWNER
from dev.postgres.postmaster import free_port

SECONDS = 20
HERE = "/proc/self/cwd"  # the server's account may not be allowed to enter the parent folders


class Standby:
    """A Postgres server that replicates the database of a stage."""

    def __init__(self, stage: Stage, port: int) -> None:
        self.home, self.port = stage.folder / "standby", port
        self._primary = urlsplit(stage.cluster.url)
        self._account = Account.for_cluster(self.home)
        self._programs = Programs(chosen_postgres() or reachable_binaries(self._account), self._account)
        self._child: subprocess.Popen[bytes] | None = None

    def query(self, statement: str, port: int | None = None) -> str:
        """Run a statement on this server, or on the server at `port`, and return its output."""
        printed = self._programs.output(
            Path("/"),
            ["psql", "-h", "127.0.0.1", "-p", str(port or self.port), "-U", OWNER, "-Atc", statement, OWNER],
            self._password,
        )
        return printed.strip()

    def start(self, *, synchronous: bool = True) -> None:
        """Copy the primary and replicate it. The primary's commits then wait for this server, if `synchronous`."""
        primary = str(self._primary.port)
        self.home.mkdir(mode=0o700)
        self._account.give(self.home)
        self._programs.output(
            self.home,
            f"pg_basebackup -D {HERE} -h 127.0.0.1 -p {primary} -U {OWNER} -R --checkpoint=fast".split(),
            self._password,
        )
        options = [
            word for name, value in {**ALWAYS, **DURABLE}.items() for word in ("-c", f"{name}={value}")
        ]
        self._child = subprocess.Popen(
            [self._programs.path("postgres"), "-D", HERE, "-p", str(self.port), *options],
            cwd=self.home, env=BARE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **self._account.identity(),
        )  # fmt: skip
        names, wanted = ("*", "sync") if synchronous else ("", "async")
        self.query(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", int(primary))
        self.query("SELECT pg_reload_conf()", int(primary))
        until = time.monotonic() + 60
        while self.query("SELECT sync_state FROM pg_stat_replication", int(primary)) != wanted:
            if time.monotonic() > until:
                raise DrillFailed("The standby does not follow the primary.")
            time.sleep(0.2)

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """Receive nothing during the block. What was sent meanwhile is lost if the primary is lost."""
        receiver = int(self.query("SELECT pid FROM pg_stat_wal_receiver"))
        os.kill(receiver, signal.SIGSTOP)
        try:
            yield
        finally:
            # What waits in the receiver's socket is lost too, as on a machine that dies.
            for how in (signal.SIGTERM, signal.SIGCONT):
                os.kill(receiver, how)

    def promote(self) -> None:
        """Make this server the primary."""
        self.query("SELECT pg_promote(true, 60)")
        # The new primary has no standby yet.
        self.query("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.query("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Shut the standby down."""
        if self._child is not None:
            self._child.send_signal(signal.SIGINT)
            self._child.wait(30)

    @property
    def _password(self) -> dict[str, str]:
        return {"PGPASSWORD": str(self._primary.password)}


@dataclass(frozen=True, slots=True)
class Failover:
    """What a failover measured: requests, events, and seconds after the end of the primary."""

    requests: int
    failed: int
    accepted: int
    lost: int
    unaccepted: int  # events that the stand-in got, and whose caller never got a 202
    totals: Mapping[str, int]  # of the stand-in
    counts: Mapping[str, int]  # of the service
    promoted_s: float
    ready_s: float

    @property
    def passed(self) -> bool:
        return not (self.lost or self.unaccepted or self.totals["other_bytes"])


def fail_over(
    folder: Path, *, seconds: float = SECONDS, lag_s: float = 0.0, synchronous: bool = True
) -> Failover:
    """Post for so many seconds; in the middle, let the standby lag, kill the primary and promote the standby."""
    stage = Stage(folder)
    standby: Standby | None = None
    try:
        stage.open(workers=0)
        primary = urlsplit(stage.cluster.url)
        standby = Standby(stage, free_port())
        standby.start(synchronous=synchronous)
        # Start the service with the addresses of both servers, as in production.
        both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        stage.settings = with_servers(stage.settings, both)
        stage.stop("api-1")
        for number in (1, 2):
            stage.start(f"worker-{number}", "work")
            stage.start(f"api-{number}")
        stage.wait_ready()
        load = Load(stage)
        load.start()
        time.sleep(seconds / 2)
        # What workers deliver meanwhile would not be lost.
        workers = [stage.children[name] for name in ("worker-1", "worker-2")]
        with standby.lagging() if lag_s else nullcontext():
            for worker in workers if lag_s else ():
                worker.send_signal(signal.SIGSTOP)
            time.sleep(lag_s)
            stage.destroy_database()
        began = time.monotonic()
        standby.promote()
        promoted = time.monotonic() - began
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        stage.wait_ready()
        ready = time.monotonic() - began
        time.sleep(seconds / 2)
        load.stop(answered=True)
        counts = stage.drain()
        ids, totals = stage.delivered()
    finally:
        stage.close()
        if standby is not None:
            standby.stop()
    accepted = load.accepted.keys()
    return Failover(
        load.requests, load.failed, len(accepted), len(accepted - ids), len(ids - accepted),
        totals, counts, promoted, ready,
    )  # fmt: skip


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Run the drill. Return its report, and True if every accepted event was delivered once."""
    found = fail_over(folder, seconds=asked.seconds or SECONDS)
    report = f"""Failover drill, {datetime.now(UTC):%d %B %Y}: {found.accepted:,} events accepted in {found.requests:,} requests

| question | result |
|---|---|
| primary killed until the standby is promoted | {found.promoted_s:.1f} s |
| primary killed until the API is ready | {found.ready_s:.1f} s |
| requests without an answer or with 5xx meanwhile; callers repeated them | {found.failed:,} |
| events that Amazon got, and whose caller never got a 202 | {found.unaccepted} |
| events that Amazon got with other content under the same id | {found.totals["other_bytes"]} |
| events that Amazon got again with the same id and content | {found.totals["repeats"]:,} |
| counts after draining | {found.counts["delivered"]:,} delivered, {found.counts["dead"]} dead |

Lost events: {found.lost}
"""
    return report, found.passed
