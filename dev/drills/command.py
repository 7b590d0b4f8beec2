"""`drill restore|upgrade|failover|ha|gameday`: rehearse an incident and count the events that it lost."""

import argparse
import importlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.settings import Settings
from dev.drills.stage import DrillFailed

NAMES = ("restore", "upgrade", "failover", "ha", "gameday")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name of the drill and its length."""
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seconds", type=int, help="seconds of posting events")
    parser.add_argument("--from", dest="source", metavar="REF", help="upgrade: the release to start from")
    parser.add_argument("--rounds", type=int, default=1, help="ha: rounds for each fault (default: 1)")
    parser.add_argument(
        "--fault", metavar="WORDS", help="ha: only the faults whose name contains these words"
    )
    parser.add_argument("--report", type=Path, help="also write the report to this file")


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Run a drill in a temporary folder and print its report. Return 0 if it passed."""
    if settings.production:
        sys.stderr.write("Drills destroy their database; they do not run in production.\n")
        return 2
    # SystemExit runs the `finally` blocks of the drill, which end its processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return rehearse(importlib.import_module(f"dev.drills.{asked.name}").run, asked)


def rehearse(drill: Callable[[Path, argparse.Namespace], tuple[str, bool]], asked: argparse.Namespace) -> int:
    """Run a drill in a temporary folder, and print its report. If it does not pass, copy the logs first."""
    with tempfile.TemporaryDirectory(prefix="conversions-drill-") as name:
        folder, passed = Path(name), False
        folder.chmod(0o755)
        try:
            report, passed = drill(folder, asked)
        except DrillFailed as problem:
            sys.stderr.write(f"{problem}\n")
            return 1
        finally:
            if not passed:
                sys.stderr.write(f"The logs are in {_copy_logs(folder)}.\n")
    sys.stdout.write(report)
    if asked.report is not None:
        asked.report.write_text(report)
    return 0 if passed else 1


def _copy_logs(folder: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="conversions-drill-logs-"))
    for log in folder.rglob("*.log"):
        target = kept / log.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, target)
    return kept
