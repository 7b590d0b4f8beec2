"""`./run campaign failover --seeds A-B`: the primary dies under load, its standby takes over.

The stage of the campaigns with a second server behind it. Before the primary dies, the wire between the two
stands still for a while: what is committed then is on the primary only. Then all processes of the primary
are killed for good, the standby is promoted, and the service, whose address names both, goes on. The judge
compares the responses to callers with the standby's data and the stand-in's requests. The control,
`--asynchronous`, must lose.
"""

import argparse
import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from campaigns.chaos.campaign import tell
from campaigns.chaos.scene import Report, play
from campaigns.chaos.schedule import draw
from campaigns.chaos.stage import POSTGRES, Installation, kill_server
from campaigns.running import commit, say, seeds
from dev.postgres.binaries import BARE, Account, Programs, reachable_binaries
from dev.postgres.cluster import OWNER, Cluster
from tests.crashes.evidence import Objection
from tests.pipeline.tcp_proxy import Proxy

START_S = 60.0
SETTINGS = {**POSTGRES, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "hot_standby": "on"}


class Standby:
    """A server that follows another; `url` is its own address, whether it follows or leads."""

    def __init__(self, home: Path, port: int, of: str) -> None:
        self.home, self.port, self.of = home, port, urlsplit(of)
        account = Account.for_cluster(home)
        self._account = account
        self._programs = Programs(reachable_binaries(account), account)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{OWNER}:{self.of.password}@127.0.0.1:{self.port}/{OWNER}"

    def create(self, through: int) -> None:
        """Copy the running primary, reached through a port of our own, and follow it from there on."""
        self.home.mkdir(mode=0o700)
        self._account.give(self.home)
        # Named as its own working directory: the folders above may be closed to the server's account.
        made = self._programs.run(
            self.home,
            [
                "pg_basebackup", "-D", "/proc/self/cwd", "-h", "127.0.0.1", "-p", str(through), "-U", OWNER,
                "-R", "-X", "stream", "--checkpoint=fast",
            ],
            {"PGPASSWORD": str(self.of.password)},
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode(errors="replace")

    def start(self) -> None:
        """Run the server; returns at once."""
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.home.parent / "standby.log").open("ab") as log:
            self._child = subprocess.Popen(
                [self._programs.path("postgres"), "-D", "/proc/self/cwd", "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=BARE,
                cwd=self.home,
                start_new_session=True,
                **self._account.identity(),
            )

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGINT)
            try:
                self._child.wait(30)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()


@dataclass
class Pair(Installation):
    """A stage whose database has a standby, synchronous by default."""

    synchronous: bool = True
    promoted_after: float = 0.0
    kept_free: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    async def start(self) -> None:
        # The service knows both servers from the start; until the standby listens, its port stays reserved.
        self.standby_port = self.kept_free.getsockname()[1]
        await super().start()
        self.primary: Cluster = self.cluster
        self.wire = Proxy(int(urlsplit(self.primary.url).port or 0))
        await self.wire.start()
        self.standby = Standby(self.folder / "standby", self.standby_port, self.primary.url)
        await asyncio.to_thread(self.standby.create, self.wire.port)
        self.kept_free.close()
        await asyncio.to_thread(self.standby.start)
        names = "*" if self.synchronous else ""
        await self.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await self.ask("SELECT pg_reload_conf()")
        wanted = "sync" if self.synchronous else "async"
        until = time.monotonic() + START_S
        while True:
            rows = await self.ask("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'")
            if [row["sync_state"] for row in rows] == [wanted]:
                return
            assert time.monotonic() < until, f"the standby does not follow: {rows}"
            await asyncio.sleep(0.1)

    async def fail_over(self, *, after: float, apart: float) -> None:
        """Let the two lose sight of each other for a while, kill the primary, promote the standby."""
        await asyncio.sleep(after)
        self.wire.stall()
        await asyncio.sleep(apart)
        await asyncio.to_thread(kill_server, self.folder / "cluster" / "postgres")
        died = time.monotonic()
        # What the wire held is lost with it.
        await self.wire.close()
        connection = await asyncpg.connect(self.standby.url.replace("+asyncpg", ""), timeout=10)
        try:
            assert await connection.fetchval("SELECT pg_promote(true, 60)"), "the standby was not promoted"
        finally:
            await connection.close()
        self.cluster = self.standby  # type: ignore[assignment]
        self.promoted_after = time.monotonic() - died

    async def close(self) -> None:
        self.primary.alive()  # reaps it
        await self.wire.close()
        await super().close()
        for server in (self.standby, self.primary):
            await asyncio.to_thread(server.stop)

    async def _revive_postgres(self) -> None:
        """Let the primary stay dead."""

    def _environment(self, role: str) -> dict[str, str]:
        given = super()._environment(role)
        address = urlsplit(self.cluster.url if not hasattr(self, "primary") else self.primary.url)
        both = f"127.0.0.1:{address.port},127.0.0.1:{self.standby_port}"
        where = f"{OWNER}:{address.password}@{both}/{OWNER}?target_session_attrs=read-write"
        return {**given, "DATABASE_URL": f"postgresql+asyncpg://{where}"}


@contextlib.asynccontextmanager
async def paired(*, synchronous: bool) -> AsyncIterator[Pair]:
    """Set a stage with a standby, in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="conversions-failover-"))
    stage = Pair(folder, synchronous=synchronous)
    try:
        await stage.start()
        yield stage
    finally:
        with contextlib.suppress(AttributeError):
            await stage.close()
        shutil.rmtree(folder, ignore_errors=True)


async def fail_over(
    seed: int, events: int, *, synchronous: bool = True, apart: float = 1.5
) -> tuple[Report, float]:
    """Play one failover on a stage of its own; returns what came of it, and the seconds until promotion."""
    schedule = replace(draw(seed, events), steps=())
    async with paired(synchronous=synchronous) as stage:
        schedule = replace(schedule, lasts=max(schedule.lasts, apart + 4))
        playing = asyncio.create_task(play(stage, schedule))
        # Amid the load: some was acknowledged and delivered before, some comes when the other leads.
        failing = asyncio.create_task(stage.fail_over(after=schedule.lasts * 0.4, apart=apart))
        try:
            report = await asyncio.wait_for(playing, 600)
            await failing
        except (AssertionError, TimeoutError, OSError) as error:
            report = Report(schedule, [Objection("the_run_ends", f"{type(error).__name__}: {error}")])
        finally:
            for task in (playing, failing):
                task.cancel()
            await asyncio.gather(playing, failing, return_exceptions=True)
        return report, stage.promoted_after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-3", help="A-B, or one seed")
    parser.add_argument("--events", type=int, default=1_500)
    parser.add_argument("--apart", type=float, default=1.5, help="seconds without sight before the death")
    parser.add_argument("--asynchronous", action="store_true", help="the control: it must lose")
    options = parser.parse_args()
    broken = False
    for seed in seeds(options.seeds):
        report, seconds = asyncio.run(
            fail_over(seed, options.events, synchronous=not options.asynchronous, apart=options.apart)
        )
        say(f"commit {commit()}, promoted after {seconds:.1f} s: {report.line()}")
        tell(report)
        broken = broken or bool(report.objections)
    return int(broken)
