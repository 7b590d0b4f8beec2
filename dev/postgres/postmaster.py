"""Finds and cleans up the server processes of a cluster.

A postmaster and its backends have the cluster as their working directory, which identifies them; the pid in a
file does not.
"""

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.postgres.binaries import EmbeddedError

# Below the ports that Linux (from 32,768), macOS and Windows give to outgoing connections.
_PORTS = range(15_000, 32_000)
_RANDOM = random.SystemRandom()  # the default generator may have the same seed in two processes


@dataclass(frozen=True, slots=True)
class PidFile:
    """`postmaster.pid`: pid, folder, start, port, socket folder, address, shared memory, state."""

    pid: int
    port: int
    state: str

    @property
    def ready(self) -> bool:
        """Whether the server accepts connections; `pg_ctl` uses the same field."""
        return self.state == "ready"

    @classmethod
    def of(cls, home: Path) -> "PidFile | None":
        """Read a cluster's file; return None if it is missing or empty."""
        try:
            lines = (home / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return None
        if not lines[0].strip().isdigit():
            return None
        padded = [*lines, *[""] * 8]
        return cls(int(lines[0]), int(padded[3] or 0), padded[7].strip())


def is_of_cluster(pid: int, home: Path) -> bool:
    """Return whether `pid` is a live process of the cluster in `home`."""
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

    Postgres removes a file whose process has ended, but assumes that any live process of its account is a
    postmaster. The launcher's lock on the folder and the server's check of shared memory prevent two
    postmasters.
    """
    path = home / "postmaster.pid"
    found = PidFile.of(home)
    if found is None or (_exists(found.pid) and not is_of_cluster(found.pid, home)):
        path.unlink(missing_ok=True)


def end_orphans(home: Path) -> None:
    """Kill backends that outlive their postmaster (busy ones do not check for it)."""
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if is_of_cluster(pid, home) and (entry / "comm").read_text().startswith("postgres"):
            os.kill(pid, signal.SIGKILL)


def lock_folder(folder: Path, timeout: float) -> IO[str]:
    """Lock `folder` for this launcher until the returned file is closed or the process ends.

    Waits up to `timeout` seconds for a predecessor that is shutting down.
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
    """Return a free port of 127.0.0.1 that no outgoing connection gets before it is used."""
    while port_taken(port := _RANDOM.choice(_PORTS)):
        pass
    return port


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether the port has a listener."""
    with socket.socket() as probe:
        # The option of servers: a connection in TIME_WAIT does not block the port, a listener does.
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
