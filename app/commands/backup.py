"""`backup` and `restore`: base backups and WAL through Postgres' own programs (docs/backup.md).

The folder contains `base-TIME` for each base backup, which ended at TIME (UTC), and `wal` after `--follow`.
"""

import argparse
import asyncio
import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.commands import CommandFailed, WrongArguments, instant, number_within
from app.commands.postgres_programs import connection_environment, execute, program, requires_tls
from app.processes.resources import connected_as
from app.settings import Settings
from app.store.database import backups
from app.store.errors import DRIVER_ERRORS

STAMP = "%Y%m%dT%H%M%SZ"
_NOTES = "postgres.json"  # the embedded Postgres' port and password, next to its data directory
_WAL_IN_DATA = "restored_wal"
# After these errors pg_receivewal would ask for the same every five seconds: the server removed the WAL, does
# not have the slot, removed its WAL (since Postgres 18), or was restored to a time before the WAL.
_LACKS_WAL = re.compile(r'been removed|slot ".*" does not exist|can no longer access|not in this server')


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where base backups and WAL are stored")
    parser.add_argument(
        "--follow", action="store_true", help="then stream the WAL to DIR/wal until SIGTERM or Ctrl-C"
    )
    parser.add_argument(
        "--keep-days",
        type=number_within("a number of days", 0, 36_500),
        metavar="N",
        help="delete older base backups of DIR, and the WAL before them",
    )


def restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that `backup` wrote")
    parser.add_argument("--to", type=moment, metavar="TIME", help="RFC 3339; default: the end of the WAL")
    parser.add_argument(
        "--data-dir", type=Path, help="data directory to write; default: the embedded Postgres'"
    )
    parser.add_argument("--replace", action="store_true", help="move an existing data directory aside")


def moment(text: str) -> datetime:
    """Parse an RFC 3339 time with its offset."""
    time = instant(text)
    if datetime.fromisoformat(text).tzinfo is None:
        raise argparse.ArgumentTypeError("a time needs an offset, such as Z")
    return time


@dataclass(frozen=True, slots=True)
class BackupSource:
    """The server to back up: its major version, whether it has our slot, and how programs connect to it."""

    major: int
    has_slot: bool
    environment: dict[str, str]

    def program(self, name: str) -> Path:
        """Return the program of the server's version."""
        return program(name, self.major, tls=requires_tls(self.environment))


async def find_source(settings: Settings) -> BackupSource:
    """Ask the server for what a backup must know about it. Drop our slot if its WAL was removed."""
    async with connected_as(settings, "backup") as connection:
        await backups.drop_lost_slot(connection)
        has_slot = await backups.has_slot(connection)
        major = connection.get_server_version().major
    return BackupSource(major, has_slot, connection_environment(settings.database_for("backup")))


def run(settings: Settings, asked: argparse.Namespace) -> None:
    """Take a base backup and verify it. With `--follow`, then stream the WAL until a signal."""
    source = asyncio.run(find_source(settings))
    folder: Path = asked.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder):
        if asked.follow:
            follow(folder, source, settings, keep_days=asked.keep_days)
        else:
            take_base(folder, source, settings, keep_days=asked.keep_days)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other backups out of the folder, where they would delete each other's unfinished files.

    Raises CommandFailed if one is running.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(
                f"Another `backup` uses {folder}. With --follow, each start takes a base backup: restart it."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield


def follow(folder: Path, source: BackupSource, settings: Settings, *, keep_days: int | None) -> None:
    """Stream the WAL, take a base backup, and go on until a signal."""
    is_based = source.has_slot
    try:
        with receiving_wal(folder / "wal", source) as receiver:
            # The WAL is streamed first, so that it begins before the base backup.
            take_base(folder, source, settings, keep_days=keep_days)
            is_based = True
            print(f"Streaming WAL to {folder / 'wal'}.", flush=True)
            code = receiver.wait()
            if receiver.lacks_wal:
                is_based = source.has_slot  # a new slot is of no use
                raise CommandFailed(
                    f"The server no longer has the WAL that follows {folder / 'wal'}, or the slot, for "
                    "example after a restore or a failover: see docs/runbooks/slot-retains-wal.md."
                )
            if code != 0:
                raise CommandFailed("pg_receivewal stopped; see its last line above.")
    finally:
        if not is_based:
            # Without a base backup, the slot would only retain WAL, until the disk of the server is full.
            drop = ["--drop-slot", "--slot", backups.SLOT, "--no-password"]
            try:
                execute([source.program("pg_receivewal"), *drop], source.environment)
            except CommandFailed as problem:
                if "does not exist" not in str(problem):  # the slot may have been dropped
                    print(f"Drop the slot {backups.SLOT}, which retains WAL: {problem}", file=sys.stderr)


def take_base(folder: Path, source: BackupSource, settings: Settings, *, keep_days: int | None) -> None:
    """Take and verify a base backup, and record it in the database. Then delete old ones.

    An interrupted call leaves the folder `base.partial`.
    """
    began = time.monotonic()
    partial = folder / "base.partial"
    shutil.rmtree(partial, ignore_errors=True)
    options = ["--wal-method=stream", "--checkpoint=fast", "--no-password"]
    execute([source.program("pg_basebackup"), "-D", partial, *options], source.environment)
    verify(partial, source.major)
    target = named_by_now(folder / "base-")
    if (notes := settings.data_dir / _NOTES).exists():
        # Without this file, the password of the embedded Postgres would be lost with its data directory.
        shutil.copy2(notes, partial / _NOTES)
    partial.rename(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.0f} MB, verified, {time.monotonic() - began:.1f} s", flush=True)
    if keep_days is not None:
        delete_old(folder, datetime.now(UTC) - timedelta(days=keep_days))
    try:
        asyncio.run(_note_base(settings))
    except (*DRIVER_ERRORS, TimeoutError) as error:
        # The backup is good without its record; the alert BackupTooOld shows that records are missing.
        problem = getattr(error, "sqlstate", None) or type(error).__name__
        print(f"The time of this backup was not recorded in the database ({problem}).", file=sys.stderr)


async def _note_base(settings: Settings) -> None:
    async with connected_as(settings, "backup") as connection:
        await backups.note_base(connection)


def delete_old(folder: Path, before: datetime) -> None:
    """Delete base backups that ended before a time, but not the newest, and WAL that no base backup needs."""
    bases = bases_of(folder)
    for at in sorted(bases)[:-1]:
        if at < before:
            # An interrupted deletion leaves no folder that looks like a base backup.
            shutil.rmtree(bases.pop(at).rename(folder / "base.partial"))
    label = (bases[min(bases)] / "backup_label").read_text("utf-8")
    first = re.search(r"file ([0-9A-F]{24})", label)
    assert first is not None
    for path in (folder / "wal").glob("[0-9A-F]" * 24 + "*"):
        # The first 8 digits are the timeline. As in pg_archivecleanup, all timelines are compared.
        if ".history" not in path.name and path.name[8:24] < first[1][8:]:
            path.unlink()


def verify(base: Path, major: int) -> None:
    """Check every file of a base backup against its manifest, and its WAL if pg_waldump is installed."""
    checker = program("pg_verifybackup", major)
    options = [] if checker.with_name("pg_waldump").exists() else ["--no-parse-wal"]
    options += [f"--ignore={name}" for name in (_NOTES, _WAL_IN_DATA)]  # not in every copy
    execute([checker, "--quiet", *options, base], {"PATH": os.defpath, "LC_ALL": "C"})


class WalReceiver:
    """A running pg_receivewal. A thread prints its messages, because a full pipe would block it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lacks_wal = False  # the server no longer has the WAL that follows
        self._printer = threading.Thread(target=self._print, daemon=True)
        self._printer.start()

    def _print(self) -> None:
        """Print the messages. End the program if the server lacks the WAL that it asks for."""
        for line in self.process.stderr or ():
            with suppress(OSError):  # without a reader of the messages, the stream goes on
                print(line, end="", file=sys.stderr, flush=True)
            if _LACKS_WAL.search(line):
                self.lacks_wal = True
                self.process.send_signal(signal.SIGINT)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the program and of its messages. Return the exit code."""
        code = self.process.wait(timeout)
        self._printer.join()
        return code


@contextmanager
def receiving_wal(folder: Path, source: BackupSource) -> Iterator[WalReceiver]:
    """Stream the WAL to a folder during the block. SIGTERM ends pg_receivewal cleanly.

    The replication slot keeps WAL on the server until it is received.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    program_path = source.program("pg_receivewal")
    create = ["--create-slot", "--if-not-exists", "--slot", backups.SLOT, "--no-password"]
    execute([program_path, *create], source.environment)
    command = [str(program_path), "-D", str(folder), "--slot", backups.SLOT, "--synchronous", "--no-password"]
    child = subprocess.Popen(
        command,
        env=source.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    receiver = WalReceiver(child)
    previous = signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGINT))
    try:
        yield receiver
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, previous)
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        receiver.wait(30)


def restore(settings: Settings, asked: argparse.Namespace) -> None:
    """Write a data directory. When Postgres starts on it, it recovers to the requested time."""
    if asked.data_dir is None and settings.database_url is not None:
        raise WrongArguments(
            "DATABASE_URL names a server: stop it, then run restore on its host with --data-dir."
        )
    if asked.data_dir is None and settings.production:
        raise WrongArguments("In production no embedded Postgres is restored: add --data-dir.")
    embedded = asked.data_dir is None
    target: Path = settings.data_dir / "postgres" if embedded else asked.data_dir
    base = newest_base(asked.folder, asked.to)
    check_target(target, replace=asked.replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f"{target.name}.restoring")
    shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(base, building, symlinks=True, ignore=shutil.ignore_patterns(_WAL_IN_DATA))
    verify_copy(building, base)
    notes = building / _NOTES
    if notes.exists():
        if embedded and not (settings.data_dir / _NOTES).exists():
            shutil.copy2(notes, settings.data_dir / _NOTES)
        notes.unlink()
    request_recovery(building, asked.folder / "wal", asked.to)
    give_to_server(building)
    building.chmod(0o700)
    check_target(target, replace=asked.replace)  # again: a copy may take hours
    make_way(target)
    building.rename(target)
    until = f"up to {asked.to:%Y-%m-%dT%H:%M:%SZ}" if asked.to else "up to the end of the WAL"
    follow = "`./run` starts it" if embedded else "Start Postgres on it"
    print(f"{target}: restored from {base.name}. {follow}; it then recovers {until}.")


def newest_base(folder: Path, to: datetime | None) -> Path:
    """Return the newest base backup, or the newest that ended before the time `to`."""
    bases = bases_of(folder)
    usable = [at for at in bases if to is None or at <= to]
    if not bases:
        raise CommandFailed(f"{folder} contains no base backup.")
    if not usable:
        raise CommandFailed(f"The oldest base backup of {folder} ended at {min(bases):%Y-%m-%dT%H:%M:%SZ}.")
    if to is not None and not (folder / "wal").is_dir():
        raise CommandFailed(f"{folder} contains no WAL, so only its base backups can be restored: omit --to.")
    return bases[max(usable)]


def bases_of(folder: Path) -> dict[datetime, Path]:
    """Return the base backups in a folder by the time of their end. Raises CommandFailed without a folder."""
    if not folder.is_dir():
        raise CommandFailed(f"{folder} is no folder: name the one that `backup` wrote.")
    return {
        datetime.strptime(path.name, f"base-{STAMP}").replace(tzinfo=UTC): path
        for path in folder.iterdir()
        if re.fullmatch(r"base-\d{8}T\d{6}Z", path.name)
    }


def verify_copy(data: Path, base: Path) -> None:
    """Verify the copy of a base backup. Raises CommandFailed, with what to do, if it is damaged."""
    problem: str | None = "its PG_VERSION cannot be read"
    with suppress(OSError, ValueError):
        problem = _damage(data, int((data / "PG_VERSION").read_text("utf-8")))
    if problem is not None:
        shutil.rmtree(data)
        raise CommandFailed(f"{base} is damaged ({problem}): move it away to restore an earlier one.")


def _damage(data: Path, major: int) -> str | None:
    try:
        program("pg_verifybackup", major)
    except CommandFailed as missing:  # a restore is urgent
        print(f"The copy is not verified. {missing}", file=sys.stderr)
        return None
    try:
        verify(data, major)
    except CommandFailed as problem:
        return str(problem)
    return None


def check_target(target: Path, *, replace: bool) -> None:
    """Raise CommandFailed if the path of a data directory is in use or must not be replaced."""
    if (target / "postmaster.pid").exists():
        raise CommandFailed(f"Postgres runs on {target}, or was killed: stop it first.")
    if target.exists() and any(target.iterdir()) and not replace:
        raise CommandFailed(f"{target} exists: move it away, or use --replace.")


def make_way(target: Path) -> None:
    """Rename what exists at the path of a data directory, so that nothing is there; delete an empty one."""
    if target.exists() and any(target.iterdir()):
        target.rename(named_by_now(target.with_name(f"{target.name}.replaced-")))
    shutil.rmtree(target, ignore_errors=True)


def named_by_now(prefix: Path) -> Path:
    """Return `prefix` followed by the current time. If that path exists, wait until the time has changed."""
    while (path := prefix.with_name(f"{prefix.name}{datetime.now(UTC):{STAMP}}")).exists():
        time.sleep(0.1)
    return path


def request_recovery(data: Path, wal: Path, to: datetime | None) -> None:
    """Copy the WAL into a data directory and configure recovery from it. Does nothing without WAL."""
    if not wal.is_dir():
        return
    # The WAL is copied, because the account that runs Postgres may not be able to read the backup folder.
    shutil.copytree(wal, data / _WAL_IN_DATA)
    lines = [
        # Paths are relative to the data directory. The name of an incomplete segment ends with `.partial`.
        f'restore_command = \'cp {_WAL_IN_DATA}/%f "%p" 2>/dev/null || cp {_WAL_IN_DATA}/%f.partial "%p"\'',
        "recovery_target_action = 'promote'",
    ]
    if to is not None:
        lines.append(f"recovery_target_time = '{to:%Y-%m-%d %H:%M:%S.%f+00}'")
    configuration = data / "postgresql.auto.conf"
    # If the server was restored before, its base backup contains the settings of that recovery.
    earlier = configuration.read_text("utf-8").splitlines()
    others = [line for line in earlier if not line.startswith(("restore_command", "recovery_target"))]
    configuration.write_text("\n".join([*others, *lines]) + "\n", "utf-8")
    (data / "recovery.signal").touch()


def give_to_server(data: Path) -> None:
    """If root runs this command, give the files to the account that runs Postgres.

    This account is the owner of the parent folder. If root owns that folder, it is `nobody`.
    """
    if os.geteuid() != 0:
        return
    parent = data.parent.stat()
    owner = (parent.st_uid, parent.st_gid)
    if owner[0] == 0:
        account = pwd.getpwnam("nobody")
        owner = (account.pw_uid, account.pw_gid)
    for path in (data, *data.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)
