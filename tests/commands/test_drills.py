"""`drill`: refused in production; the long form runs each drill for some seconds and loses nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from dev.drills.command import NAMES
from dev.drills.monitoring import PROGRAMS
from tests.commands.test_settings import GOOD_PRODUCTION

ROOT = Path(__file__).resolve().parents[2]


def test_a_drill_does_not_run_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It destroys what it works on."""
    for name, value in GOOD_PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["drill", "restore"]) == 2
    assert "do not run in production" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_drill_loses_no_event(name: str) -> None:
    """Real processes, a real Postgres, and for the game day a real Prometheus and Alertmanager."""
    if name == "gameday" and any(shutil.which(program) is None for program in PROGRAMS):
        pytest.skip("prometheus and prometheus-alertmanager are not installed")
    done = subprocess.run(
        [sys.executable, "-m", "app", "drill", name, "--seconds", "10"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Lost events: 0" in done.stdout
