"""The embedded Postgres of `./run`: create, start, reuse and stop a cluster in a folder.

Three cases need care:

* **Root.** Postgres refuses to run as root, and another account may not be allowed to enter the checkout. The
  server then runs as an unprivileged account. The server gets the cluster as its working directory
  (`/proc/self/cwd`), which it can reach in any case. Its programs are copied to a folder that it can read
  (`reachable_binaries`).
* **A killed run.** A server that still runs is reused. Remaining backends of a dead server are killed after
  some seconds. A pid file of another process is removed.
* **A crash during creation.** A cluster is created under a temporary name and renamed when it is complete.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from app.commands.private_files import write_private
from dev.postgres.binaries import BARE, Account, EmbeddedError, Programs, last_error, reachable_binaries
from dev.postgres.postmaster import (
    PidFile,
    clear_pid_file,
    end_orphans,
    free_port,
    is_of_cluster,
    lock_folder,
    port_taken,
)

__all__ = ["DURABLE", "THROWAWAY", "Cluster", "EmbeddedError"]

OWNER = "conversions"
"""Name of the cluster's superuser and of the database."""

START_SECONDS = 180.0
"""Long enough for the crash recovery of a large cluster. Other failures are noticed immediately."""
LEFTOVER_SECONDS = 10.0
"""The time that backends of a dead server get to exit before they are killed."""
STOP_SECONDS = 60.0

WORKING_DIRECTORY = "/proc/self/cwd"

DURABLE: Mapping[str, str] = {
    # The promise of a 202 depends on these three settings; `doctor` checks them.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Sized for a laptop: batches are appended and read once, so a larger cache gains nothing.
    "shared_buffers": "192MB",
    # Fewer checkpoints cause fewer full page images in the WAL.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
}
"""Server settings of a durable cluster."""

THROWAWAY: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_wal_size": "512MB",
    "max_connections": "200",
}
"""Server settings of a cluster for tests."""

ALWAYS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
    # The server log must not contain values, so it gets no DETAIL lines and no statements.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True)
class _Notes:
    """The connection details of a cluster, stored in a file that only its owner can read."""

    port: int
    password: str
    database_made: bool = False


class Cluster:
    """A Postgres cluster in `folder/postgres`. Its connection details, lock and log are in `folder`.

    `start()` runs the server on 127.0.0.1, and `stop()` shuts it down. Only one process at a time can start
    the cluster of a folder. The kernel releases its lock when the process ends.
    """

    def __init__(
        self,
        folder: Path,
        binaries: Path | None = None,
        *,
        settings: Mapping[str, str] = DURABLE,
        lock_timeout: float = STOP_SECONDS,
    ) -> None:
        self._folder = folder
        self._home = folder / "postgres"
        self._log = folder / "postgres.log"
        self._account = Account.for_cluster(self._home)
        self._found = None if binaries is None else Programs(binaries, self._account)
        self._settings = {**ALWAYS, **settings}
        self._lock_timeout = lock_timeout
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._notes: _Notes | None = None
        self.adopted = False

    @property
    def url(self) -> str:
        """Return the SQLAlchemy URL of the database. It contains the password, so never print it."""
        return self.url_of(OWNER)

    def url_of(self, database: str) -> str:
        """Return the URL of another database of this cluster."""
        if self._notes is None:
            raise EmbeddedError("The embedded Postgres has not been started.")
        notes = self._notes
        return f"postgresql+asyncpg://{OWNER}:{notes.password}@127.0.0.1:{notes.port}/{database}"

    def start(self) -> None:
        """Create the cluster if it does not exist, start it, and wait until it accepts connections.

        A server that still runs after its launcher was killed is reused. Raises EmbeddedError.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = lock_folder(self._folder, self._lock_timeout)
        try:
            self._found = self._found or Programs(reachable_binaries(self._account), self._account)
            self._notes = self._read_notes()
            if not (self._home / "PG_VERSION").exists():
                self._create()
            self._check_version()
            if not self._adopt():
                self._launch()
            self._create_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the server down in the mode "fast", or "immediate" if this takes longer than a minute."""
        for how in (signal.SIGINT, signal.SIGQUIT):
            if self._pid is None or not self.alive():
                break
            os.kill(self._pid, how)
            _until(lambda: not self.alive(), STOP_SECONDS)
        self._child = self._pid = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def url_if_running(self) -> str | None:
        """Return the URL if another process runs this cluster, else None."""
        notes, found = self._read_notes(), PidFile.of(self._home)
        if notes is None or found is None or not found.ready or not is_of_cluster(found.pid, self._home):
            return None
        self._notes = replace(notes, port=found.port)
        return self.url if notes.database_made else None

    def schema(self) -> str:
        """Return the schema of the database as SQL. The same schema gives the same text."""
        notes = self._notes
        assert notes is not None
        dumped = self._programs.output(
            self._home,
            [
                "pg_dump", "--schema-only", "--no-owner",
                "-h", "127.0.0.1", "-p", str(notes.port), "-U", OWNER, OWNER,
            ],
            {"PGPASSWORD": notes.password},
        )  # fmt: skip
        # Newer versions of pg_dump write a random word into each dump.
        return re.sub(r"^\\(un)?restrict .*$", "", dumped, flags=re.MULTILINE)

    def alive(self) -> bool:
        """Return whether the server's postmaster runs."""
        if self._child is not None and self._child.poll() is not None:
            return False
        return self._pid is not None and is_of_cluster(self._pid, self._home)

    # -- creating -------------------------------------------------------------------------------

    def _create(self) -> None:
        """Create the cluster under a temporary name and rename it when it is complete."""
        if self._home.exists() and any(self._home.iterdir()):
            raise EmbeddedError(
                f"{self._home} contains files but no Postgres cluster. Move them, or set another DATA_DIR."
            )
        building = self._folder / "postgres.new"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        self._account.give(building)
        self._notes = _Notes(port=free_port(), password=secrets.token_urlsafe(32))
        with self._password_file(self._notes.password) as password_file:
            self._programs.output(
                building,
                [
                    "initdb", "--pgdata", self._address(building), "--username", OWNER,
                    "--pwfile", password_file, "--auth", "scram-sha-256", "--encoding", "UTF8",
                    "--locale", "C", "--no-instructions",
                    *([] if self._settings["fsync"] == "on" else ["--no-sync"]),
                ],
            )  # fmt: skip
        self._write_notes()
        if self._home.exists():
            self._home.rmdir()
        building.rename(self._home)

    def _create_database(self) -> None:
        """Create the database if it does not exist."""
        notes = self._notes
        assert notes is not None
        if notes.database_made:
            return
        result = self._programs.run(
            self._home,
            ["createdb", "--host", "127.0.0.1", "--port", str(notes.port), "--username", OWNER, OWNER],
            {"PGPASSWORD": notes.password},
        )
        if result.returncode != 0 and b"already exists" not in result.stderr:
            raise EmbeddedError(f"createdb failed: {last_error(result.stderr)}")
        self._notes = replace(notes, database_made=True)
        self._write_notes()

    def _check_version(self) -> None:
        """Raise EmbeddedError for a cluster of another major version. The server's message is less clear."""
        version = (self._home / "PG_VERSION").read_text().strip()
        printed = self._programs.output(self._home, ["postgres", "--version"])
        installed = printed.removeprefix("postgres (PostgreSQL)").strip().partition(".")[0]
        if version != installed:
            raise EmbeddedError(
                f"{self._home} was created by Postgres {version}, but Postgres {installed} is installed. "
                "Dump it with the old version, or set DATA_DIR to a new folder."
            )

    # -- running --------------------------------------------------------------------------------

    def _adopt(self) -> bool:
        """Reuse a server whose launcher was killed. Return True when it is ready, False if there is none."""
        deadline = time.monotonic() + START_SECONDS
        while (found := PidFile.of(self._home)) and is_of_cluster(found.pid, self._home):
            self._pid = found.pid
            if found.ready:
                assert self._notes is not None
                self._notes = replace(self._notes, port=found.port)
                self.adopted = True
                return True
            if time.monotonic() > deadline:
                os.kill(found.pid, signal.SIGQUIT)
            time.sleep(0.05)
        self._pid = None
        return False

    def _launch(self) -> None:
        """Start the server. If remains of an earlier server prevent it, remove them and try again."""
        assert self._notes is not None
        started = time.monotonic()
        while True:
            clear_pid_file(self._home)
            if port_taken(self._notes.port):
                self._notes = replace(self._notes, port=free_port())
                self._write_notes()
            mark = self._log.stat().st_size if self._log.exists() else 0
            if self._serve(self._notes.port):
                return
            output = self._log.read_bytes()[mark:]
            waited = time.monotonic() - started
            left_over = b"shared memory" in output or b"lock file" in output
            if not (left_over or b"could not bind" in output) or waited > START_SECONDS:
                raise EmbeddedError(f"Postgres did not start (see {self._log}): {last_error(output)}")
            if left_over and waited > LEFTOVER_SECONDS:
                end_orphans(self._home)
            time.sleep(0.2)

    def _serve(self, port: int) -> bool:
        """Run the server. Return True when it accepts connections, or False if it exited."""
        if self._log.exists() and self._log.stat().st_size > 16 * 1024 * 1024:
            self._log.replace(self._log.with_suffix(".log.1"))
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._child = subprocess.Popen(
                [self._programs.path("postgres"), "-D", self._address(self._home), "-p", str(port), *options],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=BARE,
                cwd=self._home,
                # In a separate session, Postgres does not get the SIGINT of Ctrl-C.
                start_new_session=True,
                **self._account.identity(),
            )
        except OSError as error:
            raise EmbeddedError(f"Postgres cannot be started: {error.strerror}.") from None
        finally:
            os.close(descriptor)
        self._pid = self._child.pid
        deadline = time.monotonic() + START_SECONDS
        while self._child.poll() is None:
            found = PidFile.of(self._home)
            if found is not None and found.pid == self._child.pid and found.ready:
                return True
            if time.monotonic() > deadline:
                raise EmbeddedError(f"Postgres was not ready after {START_SECONDS:.0f} s (see {self._log}).")
            time.sleep(0.01)
        self._pid = None
        return False

    # -- files, programs --------------------------------------------------------------

    def _read_notes(self) -> _Notes | None:
        path = self._folder / "postgres.json"
        try:
            return _Notes(**json.loads(path.read_text()))
        except FileNotFoundError:
            if (self._home / "PG_VERSION").exists():
                raise EmbeddedError(
                    f"{path} is missing. It contains the password of {self._home}: restore it."
                ) from None
            return None
        except (ValueError, TypeError):
            raise EmbeddedError(f"{path} is damaged. Restore it, or move {self._folder}.") from None

    def _write_notes(self) -> None:
        assert self._notes is not None
        write_private(self._folder / "postgres.json", json.dumps(asdict(self._notes)))

    @property
    def _programs(self) -> Programs:
        assert self._found is not None
        return self._found

    @contextmanager
    def _password_file(self, password: str) -> Iterator[str]:
        """Yield the path of a temporary file with the password. Only the server's account can read it."""
        descriptor, name = tempfile.mkstemp(prefix="conversions-")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(password)
            self._account.give(Path(name))
            yield name
        finally:
            Path(name).unlink()

    def _address(self, cluster: Path) -> str:
        """Return the path by which the server's account reaches the cluster."""
        drops = self._account.drops and Path(WORKING_DIRECTORY).exists()
        return WORKING_DIRECTORY if drops else str(cluster.absolute())


def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
