"""Whether a server process runs for a cluster, and what a dead one left behind.

A postmaster keeps its cluster as its working directory, and so do its backends: that, and not a
number in a file, tells whose process it is.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.postgres.binaries import EmbeddedError


@dataclass(frozen=True, slots=True)
class PidFile:
    """`postmaster.pid`: pid, folder, start, port, socket folder, address, shared memory, state."""

    pid: int
    port: int
    state: str

    @property
    def ready(self) -> bool:
        """Whether the server takes connections (what `pg_ctl` looks at, too)."""
        return self.state == "ready"

    @classmethod
    def of(cls, home: Path) -> "PidFile | None":
        """Read a cluster's file; None when there is none, or one that a crash left empty."""
        try:
            lines = (home / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return None
        if not lines[0].strip().isdigit():
            return None
        padded = [*lines, *[""] * 8]
        return cls(int(lines[0]), int(padded[3] or 0), padded[7].strip())


def is_of_cluster(pid: int, home: Path) -> bool:
    """Whether `pid` is a live process of the cluster in `home`."""
    if not _exists(pid):
        return False
    try:
        if sys.platform.startswith("linux"):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z" and os.path.samestat(os.stat(f"/proc/{pid}/cwd"), home.stat())
        else:
            told = subprocess.run(
                ["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, check=False
            )
            return str(home).encode() in told.stdout
    except OSError:
        return False


def clear_pid_file(home: Path) -> None:
    """Remove a pid file that is empty or names a stranger.

    Postgres itself removes one whose process is gone, but takes any live process of its own account
    for a postmaster. What protects a cluster from two of them is the launcher's lock on the folder and
    the server's own check of the shared memory that old backends still hold.
    """
    path = home / "postmaster.pid"
    found = PidFile.of(home)
    if found is None or (_exists(found.pid) and not is_of_cluster(found.pid, home)):
        path.unlink(missing_ok=True)


def end_orphans(home: Path) -> None:
    """End backends whose postmaster is dead and who did not notice (busy ones do not look)."""
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if is_of_cluster(pid, home) and (entry / "comm").read_text().startswith("postgres"):
            os.kill(pid, signal.SIGKILL)


def hold_folder(folder: Path, patience: float) -> IO[str]:
    """Make this process the only launcher of the cluster in `folder`, until the file is closed.

    The kernel lets go when the holder dies, however that happens. A predecessor that is shutting down
    is waited for, `patience` seconds at most.
    """
    lock = (folder / "postgres.lock").open("a")
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise EmbeddedError(
                    f"Another ./run uses {folder}; stop it, or set DATA_DIR to another folder."
                ) from None
            time.sleep(0.1)
        else:
            return lock


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        # As a server itself binds: a connection in TIME_WAIT is no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
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
