"""Find the server processes of a Postgres cluster, and remove their remains.

A postmaster and its backends are recognised by their working directory, which is the cluster. The pid in a
file is not enough, because another process can have this pid now.
"""

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.postgres.binaries import EmbeddedError

# Operating systems use higher ports for outgoing connections (Linux from 32,768).
_PORTS = range(15_000, 32_000)
_RANDOM = random.SystemRandom()  # two processes may have the same seed of the default generator


@dataclass(frozen=True, slots=True)
class PidFile:
    """Three of the eight lines of the file `postmaster.pid`: the first, the fourth and the last."""

    pid: int
    port: int
    state: str

    @property
    def ready(self) -> bool:
        """Return whether the server accepts connections. `pg_ctl` uses the same line."""
        return self.state == "ready"

    @classmethod
    def of(cls, home: Path) -> "PidFile | None":
        """Read the file of a cluster. Return None if it is missing or empty."""
        try:
            lines = (home / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return None
        if not lines[0].strip().isdigit():
            return None
        padded = [*lines, *[""] * 8]
        return cls(int(lines[0]), int(padded[3] or 0), padded[7].strip())


def is_of_cluster(pid: int, home: Path) -> bool:
    """Return whether `pid` is a running process of the cluster in `home`."""
    if not _exists(pid):
        return False
    try:
        if sys.platform.startswith("linux"):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z" and os.path.samestat(os.stat(f"/proc/{pid}/cwd"), home.stat())
        else:
            listed = subprocess.run(
                ["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, check=False
            )
            return str(home).encode() in listed.stdout
    except OSError:
        return False


def clear_pid_file(home: Path) -> None:
    """Remove a pid file that is empty or has the pid of another program.

    Postgres itself removes the pid file of a process that has ended. But it takes any running process of its
    account for a postmaster. Two servers on one cluster remain impossible: the launcher locks the folder, and
    Postgres checks its shared memory.
    """
    path = home / "postmaster.pid"
    found = PidFile.of(home)
    if found is None or (_exists(found.pid) and not is_of_cluster(found.pid, home)):
        path.unlink(missing_ok=True)


def end_orphans(home: Path) -> None:
    """Kill the backends of a cluster whose postmaster has ended. A busy backend does not notice this end."""
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if is_of_cluster(pid, home) and (entry / "comm").read_text().startswith("postgres"):
            os.kill(pid, signal.SIGKILL)


def server_processes(home: Path) -> set[int]:
    """Return the running processes of the cluster in `home` (Linux)."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return {pid for pid in pids if is_of_cluster(pid, home)}


def kill_server(home: Path) -> None:
    """End all processes of the cluster in `home` at one moment, as a loss of power does (Linux)."""
    stopped: set[int] = set()
    while found := server_processes(home) - stopped:  # the server may start some until it is stopped
        _signal(found, signal.SIGSTOP)
        stopped |= found
    _signal(stopped, signal.SIGKILL)


def _signal(pids: set[int], how: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, how)


def lock_folder(folder: Path, timeout: float) -> IO[str]:
    """Lock a folder for this process until the returned file is closed or the process ends.

    Waits up to `timeout` seconds, because the previous process may still be shutting down. Raises
    EmbeddedError.
    """
    lock = (folder / "postgres.lock").open("a")
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise EmbeddedError(
                    f"Another ./run uses {folder}. Stop it, or set DATA_DIR to another folder."
                ) from None
            time.sleep(0.1)
        else:
            return lock


def free_port() -> int:
    """Return a free port of 127.0.0.1 that the system gives to no outgoing connection."""
    while port_taken(port := _RANDOM.choice(_PORTS)):
        pass
    return port


def port_taken(port: int) -> bool:
    """Return whether the port has a listener."""
    with socket.socket() as probe:
        # With this option, only a listener blocks the port, not a connection in TIME_WAIT.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
