"""What `./run test --fast` leaves out: tests that start a process or a browser, and no other."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.checks import is_slow
from tests.process_guard import GUARD

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda: subprocess.run([sys.executable, "-V"], check=True), id="subprocess"),
        pytest.param(lambda: os.posix_spawn(sys.executable, [sys.executable, "-V"], {}), id="posix_spawn"),
        pytest.param(lambda: os.system("true"), id="system"),
        pytest.param(lambda: os.fork() or os._exit(0), id="fork"),
    ],
)
def test_a_test_without_the_mark_starts_no_process(
    request: pytest.FixtureRequest, start: Callable[[], object]
) -> None:
    """The guard refuses, and remembers it, so that a test which catches the refusal fails all the same."""
    with pytest.raises(PermissionError, match="process"):
        start()
    guard = request.config.stash[GUARD]
    assert len(guard.refused) == 1
    guard.refused.clear()


@pytest.mark.process
def test_a_test_with_the_mark_starts_one() -> None:
    """The guard is off."""
    assert subprocess.run([sys.executable, "-V"], check=True, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("path", "slow"),
    [
        ("campaigns/chaos/test_campaign.py", True),
        ("tests/edge/test_requests.py", True),
        ("tests/pipeline/test_shutdown.py", True),
        ("tests/console/test_pages_in_a_browser.py", True),
        ("tests/pipeline/test_ingest.py", False),
        ("tests/api/test_matrix.py", False),
    ],
)
def test_slow_modules_are_left_out_by_their_imports(path: str, slow: bool) -> None:
    """They are not even collected."""
    assert is_slow(ROOT / path) is slow
