"""The failover drill: kill the primary database under load, promote its standby, and count lost events."""

import argparse
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from dev.drills.load import Load
from dev.drills.stage import DrillFailed, Stage, with_servers
from dev.postgres.binaries import BARE, Account, Programs, reachable_binaries
from dev.postgres.cluster import ALWAYS, DURABLE, OWNER
from dev.postgres.postmaster import free_port

SECONDS = 20
HERE = "/proc/self/cwd"  # the server's account may not be allowed to enter the parent folders


class Standby:
    """A Postgres server that replicates the database of a stage synchronously."""

    def __init__(self, stage: Stage, port: int) -> None:
        self.home, self.port = stage.folder / "standby", port
        self._primary = urlsplit(stage.cluster.url)
        self._account = Account.for_cluster(self.home)
        self._programs = Programs(reachable_binaries(self._account), self._account)
        self._child: subprocess.Popen[bytes] | None = None

    def query(self, statement: str, port: int | None = None) -> str:
        """Run a statement on this server, or on the server at `port`, and return its output."""
        done = self._programs.run(
            Path("/"),
            ["psql", "-h", "127.0.0.1", "-p", str(port or self.port), "-U", OWNER, "-Atc", statement, OWNER],
            self._password,
        )
        if done.returncode:
            raise DrillFailed(f"psql failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode().strip()

    def start(self) -> None:
        """Copy the primary and replicate it. From then on, the primary's commits wait for this server."""
        primary = str(self._primary.port)
        self.home.mkdir(mode=0o700)
        self._account.give(self.home)
        copied = self._programs.run(
            self.home,
            f"pg_basebackup -D {HERE} -h 127.0.0.1 -p {primary} -U {OWNER} -R --checkpoint=fast".split(),
            self._password,
        )
        if copied.returncode:
            raise DrillFailed(f"pg_basebackup failed: {copied.stderr.decode(errors='replace').strip()}")
        options = [
            word for name, value in {**ALWAYS, **DURABLE}.items() for word in ("-c", f"{name}={value}")
        ]
        self._child = subprocess.Popen(
            [self._programs.path("postgres"), "-D", HERE, "-p", str(self.port), *options],
            cwd=self.home, env=BARE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **self._account.identity(),
        )  # fmt: skip
        self.query("ALTER SYSTEM SET synchronous_standby_names = '*'", int(primary))
        self.query("SELECT pg_reload_conf()", int(primary))
        until = time.monotonic() + 60
        while self.query("SELECT sync_state FROM pg_stat_replication", int(primary)) != "sync":
            if time.monotonic() > until:
                raise DrillFailed("The standby does not follow the primary.")
            time.sleep(0.2)

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


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Run the drill. Return its report, and True if every accepted event was delivered once."""
    seconds = asked.seconds or SECONDS
    stage = Stage(folder)
    standby: Standby | None = None
    try:
        stage.open(workers=2)
        primary = urlsplit(stage.cluster.url)
        standby = Standby(stage, free_port())
        standby.start()
        # Restart the service with the addresses of both servers, as in production.
        both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        stage.settings = with_servers(stage.settings, both)
        for name, role in (("worker-1", "work"), ("worker-2", "work"), ("api-1", "serve")):
            stage.stop(name)
            stage.start(name, role)
        stage.wait_ready()
        load = Load(stage)
        load.start()
        time.sleep(seconds / 2)
        stage.destroy_database()
        began = time.monotonic()
        standby.promote()
        promoted = time.monotonic() - began
        stage.wait_ready()
        ready = time.monotonic() - began
        time.sleep(seconds / 2)
        load.stop()
        counts = stage.drain()
        ids, totals = stage.delivered()
    finally:
        stage.close()
        if standby is not None:
            standby.stop()
    lost = set(load.accepted) - ids
    report = f"""Failover drill, {datetime.now(UTC):%d %B %Y}: {len(load.accepted):,} events accepted in {load.requests:,} requests

| question | result |
|---|---|
| primary killed until the standby is promoted | {promoted:.1f} s |
| primary killed until the API is ready | {ready:.1f} s |
| requests without an answer or with 5xx meanwhile; callers repeated them | {load.failed:,} |
| events that Amazon got with other content under the same id | {totals["other_bytes"]} |
| events that Amazon got again with the same id and content | {totals["repeats"]:,} |
| counts after draining | {counts["delivered"]:,} delivered, {counts["dead"]} dead |

Lost events: {len(lost)}
"""
    return report, not lost and not totals["other_bytes"]
