"""Replace release N by this one and go back, process by process, under load on one database."""

import argparse
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from app.settings import ROOT
from dev.drills.load import Load
from dev.drills.stage import DrillFailed, Stage

SECONDS = 60
ROLES = (("api-1", "serve"), ("api-2", "serve"), ("worker-1", "work"), ("worker-2", "work"))


def run(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
    """Return the report, and whether no request failed and no event was lost."""
    source, seconds = asked.source or "HEAD", asked.seconds or SECONDS
    with tempfile.TemporaryDirectory(prefix="conversions-release-") as name:
        old = Path(name)
        _check_out(source, old)
        stage = Stage(folder)
        try:
            stage.open(old, workers=2)
            stage.start("api-2", code=old)
            load = Load(stage, callers=8, pause_s=0.005)
            load.start()
            pause = seconds / (2 * len(ROLES) + 2)
            time.sleep(pause)
            stage.run("migrate")
            _replace(stage, ROOT, pause)
            # Back: the earlier release runs on the newer schema.
            _replace(stage, old, pause)
            load.stop()
            counts = stage.drain()
            ids, totals = stage.delivered()
        finally:
            stage.close()
    lost = set(load.accepted) - ids
    report = f"""Upgrade drill, {datetime.now(UTC):%d %B %Y}: from {source} to this checkout and back

| question | result |
|---|---|
| requests | {load.requests:,} |
| requests without an answer or with 5xx | {load.failed} |
| answers by status | {", ".join(f"{status}: {times:,}" for status, times in sorted(load.answers.items()))} |
| events accepted | {len(load.accepted):,} |
| events that Amazon got with other content under the same id | {totals["other_bytes"]} |
| events that Amazon got again with the same id and content | {totals["repeats"]:,} |
| counts after draining | {counts["delivered"]:,} delivered, {counts["dead"]} dead |

Lost events: {len(lost)}
"""
    return report, not (lost or load.failed or totals["other_bytes"])


def _check_out(source: str, folder: Path) -> None:
    packed = subprocess.run(["git", "archive", source], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        raise DrillFailed(f"git has no release {source} here.")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)


def _replace(stage: Stage, code: Path, pause: float) -> None:
    """Replace the processes one by one; the other one of each role serves meanwhile."""
    for name, role in ROLES:
        stage.stop(name)
        stage.start(name, role, code=code)
        time.sleep(pause)
        stage.wait_ready()
