"""The upgrade drill: under load, replace each process by the next release, then by the earlier release again.

The load goes through the proxy of the production example. Meanwhile events of 21 days wait.

With `--from REF`, the earlier release is this commit and the next release is this checkout. Without it, the
earlier release is this checkout. The next release is then a copy of it with the next version and the
migration of the example in docs/upgrades.md.
"""

import argparse
import asyncio
import re
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from app.settings import ROOT
from app.store.database import schema_revision
from dev.drills import api_proxy
from dev.drills.earlier_state import EarlierState
from dev.drills.load import Load
from dev.drills.stage import DrillFailed, Stage, check_out

SECONDS = 30
POSTS = 10_000  # the load continues until it has sent so many, unless the length of the drill is given
ROLES = (("api-1", "serve"), ("api-2", "serve"), ("worker-1", "work"), ("worker-2", "work"))

# For this time another transaction reads the table that the migration changes. The migration must then try
# again.
LOCK_HELD_SECONDS = 6.0
EXAMPLE_MIGRATION = """
from alembic import op

revision = "example"
down_revision = "{head}"


def upgrade() -> None:
    op.execute("ALTER TABLE destinations ADD COLUMN dataset_id text")


def downgrade() -> None:
    op.execute("ALTER TABLE destinations DROP COLUMN dataset_id")
"""


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Run the drill. Return its report, and True if no request failed and no event was lost."""
    seconds = asked.seconds or SECONDS
    with tempfile.TemporaryDirectory(prefix="conversions-release-") as name:
        old, new = Path(name) / "old", Path(name) / "new"
        check_out(asked.source or "HEAD", old)
        if asked.source is None:
            check_out("HEAD", new)
            _make_next_release(new)
        else:
            new = ROOT
        stage = Stage(folder)
        try:
            # In production a process that stops serves for 5 s longer, so that the proxy notices.
            stage.open(old, workers=2, apis=2, proxy=api_proxy.start, shutdown_delay_seconds=5)
            state = EarlierState(stage)
            state.write()
            for worker in ("worker-1", "worker-2"):
                stage.start(worker, "work", code=old)
            load = Load(stage, callers=8, pause_s=0.1)
            load.start()
            pause = seconds / (2 * len(ROLES) + 2)
            time.sleep(pause)
            before = load.slowest_s()
            migration_s = _migrate_beside_a_reader(stage, new)
            during = load.slowest_s()
            _replace(stage, state, new, pause)
            forward = _version(stage)
            state.check("next")
            state.end_waits("next")
            # The earlier release now runs on the newer schema.
            _replace(stage, state, old, pause)
            back = _version(stage)
            state.check("earlier")
            state.end_waits("earlier")
            while asked.seconds is None and load.requests < POSTS:
                time.sleep(1)
            load.stop()
            counts = stage.drain()
            ids, totals = stage.delivered()
            stage.run("balance", code=new)
        finally:
            stage.close()
    lost = set(load.accepted) - ids
    report = f"""Upgrade drill, {datetime.now(UTC):%d %B %Y}: from {asked.source or "this checkout"} to {"this checkout" if asked.source else "a release with one more migration"} and back

| question | result |
|---|---|
| version reported after the way forward, and back | {forward}, {back} |
| seconds to migrate while a foreign transaction read the table for {LOCK_HELD_SECONDS:.0f} s | {migration_s:.1f} |
| slowest request before, and during the migration | {before:.2f} s, {during:.2f} s |
| requests through the proxy | {load.requests:,} |
| requests without an answer or with 5xx | {load.failed} |
| answers by status | {", ".join(f"{status}: {times:,}" for status, times in sorted(load.answers.items()))} |
| events accepted | {len(load.accepted):,} |
| events that Amazon got with other content under the same id | {totals["other_bytes"]} |
| events that Amazon got again with the same id and content | {totals["repeats"]:,} |
| counts after draining | {counts["delivered"]:,} delivered, {counts["dead"]} dead |
| written by the earlier release; one half ended by the next release, the other after the way back | {state.describe()} |
| of these lost, with other content, or shown otherwise | {"; ".join(state.problems) or "none"} |

Lost events: {len(lost)}
"""
    same_code = asked.source is None and forward == back
    failed = lost or load.failed or totals["other_bytes"] or state.problems or same_code
    return report, not failed


def _make_next_release(folder: Path) -> None:
    """Change a checkout into the next release: raise its minor version and add a migration."""

    def next_minor(version: re.Match[str]) -> str:
        return f'version = "{version[1]}.{int(version[2]) + 1}.0"'

    project = folder / "pyproject.toml"
    text, replaced = re.subn(r'(?m)^version = "(\d+)\.(\d+)\.\d+"', next_minor, project.read_text(), count=1)
    if not replaced:
        raise DrillFailed("pyproject.toml has no version.")
    project.write_text(text)
    migration = folder / "migrations" / "versions" / "next_release.py"
    migration.write_text(EXAMPLE_MIGRATION.format(head=schema_revision.required()))


def _migrate_beside_a_reader(stage: Stage, code: Path) -> float:
    """Migrate while another transaction reads the table that changes. Return the seconds that this took."""
    stage.run("database-roles", code=code)  # a role can be new in this release
    holding = threading.Event()
    reader = threading.Thread(target=lambda: asyncio.run(_hold_lock(stage, holding)), daemon=True)
    reader.start()
    if not holding.wait(10):
        raise DrillFailed("The reading transaction did not begin.")
    began = time.monotonic()
    stage.run("migrate", code=code)
    reader.join()
    return time.monotonic() - began


async def _hold_lock(stage: Stage, holding: threading.Event) -> None:
    connection = await asyncpg.connect(stage.cluster.url.replace("+asyncpg", "", 1))
    async with connection.transaction():
        await connection.execute("LOCK TABLE destinations IN ACCESS SHARE MODE")
        holding.set()
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'destinations'::regclass AND NOT granted"
        until = time.monotonic() + 60
        while not await connection.fetchval(waiting) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(LOCK_HELD_SECONDS)
    await connection.close()


def _version(stage: Stage) -> str:
    return str(stage.call("GET", "/openapi.json")["info"]["version"])


def _replace(stage: Stage, state: EarlierState, code: Path, pause: float) -> None:
    """Replace the processes one by one by processes of another checkout.

    There are two processes of each role, so that one always runs. Each must be ready before the next one stops.
    """
    for name, role in ROLES:
        stage.stop(name)
        stage.start(name, role, code=code)
        stage.wait_ready(name)
        state.connect_another()
        time.sleep(pause)
