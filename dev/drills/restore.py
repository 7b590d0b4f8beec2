"""The restore drill: lose the database under load, restore it from a backup, and count lost events."""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.settings import ROOT
from dev.drills.load import Load
from dev.drills.stage import DrillFailed, Stage, last_line
from dev.environment import with_url

SECONDS = 30
MARGIN = timedelta(milliseconds=200)  # longer than a commit takes


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Run the drill. Return its report, and True if no event was lost.

    The database is restored twice: to the end of the WAL, and to a point in time.
    """
    seconds = asked.seconds or SECONDS
    stage = Stage(folder)
    saved = folder / "backup"
    try:
        stage.open()
        load = Load(stage, callers=2, pause_s=0.05)
        load.start()
        time.sleep(seconds / 3)
        following = _follow(stage, saved)
        time.sleep(seconds / 3)
        moment = datetime.now(UTC)
        time.sleep(seconds / 3)
        for name in ("worker-1", "api-1"):
            stage.stop(name, signal.SIGKILL)
        stage.destroy_database()
        lost_at = datetime.now(UTC)
        began = time.monotonic()
        load.stop()
        stage.cluster.stop()
        following.send_signal(signal.SIGTERM)
        following.wait(30)
        shutil.rmtree(folder / "postgres")
        before, _ = stage.delivered()
        to_the_end = _restore(stage, saved, None) - began
        latest = _existing(stage, load)
        accepted = set(load.accepted)
        lost = accepted - latest
        rpo = max((lost_at - load.accepted[event_id]).total_seconds() for event_id in lost) if lost else 0.0
        stage.stop("api-1", signal.SIGKILL)
        stage.cluster.stop()
        shutil.rmtree(folder / "postgres")
        began = time.monotonic()
        rto = _restore(stage, saved, moment) - began
        restored = _existing(stage, load)
        expected = {event_id for event_id, at in load.accepted.items() if at < moment - MARGIN}
        missing = expected - restored
        stage.start("worker-1", "work")
        counts = stage.drain()
        ids, totals = stage.delivered()
        undelivered = expected - ids
        again = len(before & restored)
    finally:
        stage.close()
    passed = not (lost or missing or undelivered or totals["other_bytes"])
    report = f"""Restore drill, {datetime.now(UTC):%d %B %Y}: {len(accepted):,} events accepted in {seconds} s

| question | result |
|---|---|
| restored to the end of the WAL: accepted events that are missing (RPO) | {len(lost)} ({rpo:.1f} s) |
| loss of the database to ready again (RTO, WAL end) | {to_the_end:.1f} s |
| restored to a point in time: accepted before it and missing | {len(missing)} of {len(expected):,} |
| restore to a point in time until ready (RTO) | {rto:.1f} s |
| accepted before that time and not delivered after draining | {len(undelivered)} |
| delivered before the loss and present after the restore | {again:,} |
| events that Amazon got with other content under the same id | {totals["other_bytes"]} |
| events that Amazon got again with the same id and content | {totals["repeats"]:,} |
| counts after draining | {counts["delivered"]:,} delivered, {counts["dead"]} dead |

Lost events: {len(lost) + len(missing) + len(undelivered)}
"""
    return report, passed


def _follow(stage: Stage, saved: Path) -> "subprocess.Popen[str]":
    """Start `backup --follow`, and return its process when the base backup is complete."""
    messages = stage.folder / "backup.log"
    with messages.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "app", "backup", str(saved), "--follow"], cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
            env={**stage.environment(ROOT), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("Streaming WAL"):
            return child
    child.wait()
    raise DrillFailed(f"backup --follow ended before its base backup was complete: {last_line(messages)}")


def _restore(stage: Stage, saved: Path, moment: datetime | None) -> float:
    """Restore the database and start it and the API. Return the monotonic time at which the API is ready."""
    settings, stage.settings = stage.settings, with_url(stage.settings, None)
    words = ("--to", moment.isoformat()) if moment is not None else ()
    stage.run("restore", str(saved), *words)
    stage.settings = settings
    stage.cluster.start()
    stage.start("api-1")
    stage.wait_ready(sandbox=False)
    return time.monotonic()


def _existing(stage: Stage, load: Load) -> set[str]:
    """Return the ids of the stored events of a load, as the API lists them."""
    found: set[str] = set()
    for status in ("queued", "retrying", "delivered", "dead"):
        cursor: str | None = ""
        while cursor is not None:
            path = f"/destinations/{stage.example.destination_id}/events?status={status}&limit=200"
            page = stage.call("GET", path + (f"&cursor={cursor}" if cursor else ""))
            found |= {item["event_id"] for item in page["items"]}
            cursor = page["next_cursor"]
    return found & set(load.accepted)
