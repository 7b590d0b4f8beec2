"""A fork behaves like a started program."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import fork_server

pytestmark = pytest.mark.process


def test_a_fork_has_its_own_arguments_environment_files_and_exit_code(tmp_path: Path) -> None:
    """The same as `python -m app`, also for a wrong setting."""
    words, environment = ["serve"], {"PATH": os.environ["PATH"], "PORT": "none", "DATA_DIR": str(tmp_path)}
    program = subprocess.run(
        [sys.executable, "-m", "app", *words],
        cwd=fork_server.ROOT,
        env={**environment, "PYTHONPATH": str(fork_server.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    with (tmp_path / "output").open("wb") as output:
        fork = fork_server.start(words, environment, output.fileno(), ())
        assert fork.wait(60) == program.returncode == 2
    assert (tmp_path / "output").read_bytes() == program.stdout


def test_a_killed_fork_reports_its_signal(tmp_path: Path) -> None:
    """A second signal to it does nothing."""
    read, write = os.pipe()
    with (tmp_path / "output").open("wb") as output:
        environment = {"PARENT_WATCH_DESCRIPTOR": str(read), "DATABASE_URL": ""}
        fork = fork_server.start(["work"], environment, output.fileno(), (read,))
    fork.kill()
    assert fork.wait(60) == -signal.SIGKILL
    fork.send_signal(signal.SIGTERM)
    os.close(read)
    os.close(write)
