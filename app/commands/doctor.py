"""`doctor`: is this deployment healthy and safely configured?

The facts are read once; every check is a pure function of them, one row a check. A failure means that
events may be lost, refused or exposed; a warning means that somebody should know.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from urllib.parse import urlsplit

import asyncpg

from app.commands.balance import sentence
from app.crypto import CannotDecrypt, Vault
from app.delivery.due_work import opens_under
from app.domain.clock_skew import MOST_SKEW_S
from app.settings import Settings, is_weak_admin_key, weak_key_ids
from app.store import migrate
from app.store.damage import DamagedBatch, check
from app.store.deployment import Deployment, read_deployment

OLDEST_POSTGRES = 150_000
MOST_SKEW = timedelta(seconds=2)
FEWEST_DAYS_AHEAD = 2
"""The same bound at which `/health/ready` turns red."""
CONNECTIONS_A_PROCESS = 12
OLDEST_BALANCE = timedelta(hours=6)
CHECKED_BATCHES = 2_000
MOST_NAMED = 5
MOST_SEALS = 2**31
"""Seals of one key, then a warning. NIST SP 800-38D allows 2^32 with random nonces; at 300 batches a
second the other half lasts 80 days."""


class Grade(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILURE = "FAILURE"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the checks look at. `lag` is our clock minus the database's."""

    settings: Settings
    database: Deployment
    lag: timedelta
    newest: str | None
    # Whether ENCRYPTION_KEYS open the database's own secret; True before there is one.
    keys_open: bool = True
    damaged_batches: Sequence[DamagedBatch] = ()
    checked_batches: int = 0


Finding = tuple[Grade, str]
Check = Callable[[Facts], Finding]


def _durable(name: str) -> Check:
    def check(facts: Facts) -> Finding:
        value = getattr(facts.database, name)
        # Stronger settings of synchronous_commit wait for replicas as well.
        if value in {"on", "remote_apply", "remote_write"}:
            return Grade.OK, f"is {value}"
        return Grade.FAILURE, f"is {value}: an event answered with 202 can be lost when the power fails"

    return check


def _version(facts: Facts) -> Finding:
    major = facts.database.version // 10_000
    good = facts.database.version >= OLDEST_POSTGRES
    return (
        (Grade.OK, f"is Postgres {major}") if good else (Grade.FAILURE, f"is Postgres {major}; 15 is needed")
    )


def _role(facts: Facts) -> Finding:
    if facts.database.superuser and facts.settings.production:
        return Grade.WARNING, "is a superuser; give API and workers roles of their own (`database-roles`)"
    if facts.database.owner and facts.settings.production:
        return Grade.WARNING, (
            "owns the tables, so that the API can change the audit: set MIGRATION_DATABASE_URL to the owner, "
            "DATABASE_URL and WORKER_DATABASE_URL to roles of their own (`database-roles`)"
        )
    return Grade.OK, "has no more rights than this environment warrants"


def _connections(facts: Facts) -> Finding:
    processes = facts.settings.api_processes + facts.settings.worker_processes
    wanted, offered = processes * CONNECTIONS_A_PROCESS, facts.database.max_connections
    if wanted > offered:
        return Grade.WARNING, f"allows {offered}; {processes} processes of one host may use {wanted}"
    return Grade.OK, f"allows {offered}"


def _migrations(facts: Facts) -> Finding:
    if facts.database.revision == facts.newest:
        return Grade.OK, f"are at {facts.newest}"
    at = facts.database.revision or "nothing yet"
    return Grade.FAILURE, f"are at {at}, this version needs {facts.newest}: run migrate"


def _clock(facts: Facts) -> Finding:
    if abs(facts.lag) <= MOST_SKEW:
        return Grade.OK, "agrees with the database's"
    return (
        Grade.WARNING,
        f"is {facts.lag.total_seconds():+.0f} s off the database's, by which ages are judged: "
        f"set it; beyond {MOST_SKEW_S:.0f} s no process is ready",
    )


def _partitions(facts: Facts) -> Finding:
    ahead = facts.database.days_ahead
    if ahead is None or ahead >= FEWEST_DAYS_AHEAD:
        return Grade.OK, "are made ahead" if ahead else "are not made yet"
    if ahead < 0:
        return Grade.WARNING, "are not made for today; the first worker that starts makes them"
    return Grade.FAILURE, f"are made {ahead} days ahead: is no worker running?"


def _keys(facts: Facts) -> Finding:
    keys = facts.settings.named_keys
    if not keys:
        return Grade.FAILURE, "are not set"
    vault = Vault(keys)
    if vault.open(vault.seal(b"doctor", place="doctor"), place="doctor") != b"doctor":
        return Grade.FAILURE, "do not open what they seal"
    if not facts.keys_open:
        return Grade.FAILURE, "do not open what the database holds: they are not the keys that sealed it"
    if weak := weak_key_ids(keys):
        grade = Grade.FAILURE if facts.settings.production else Grade.WARNING
        return grade, f"hold {', '.join(weak)}, which was not drawn at random: rotate to a random key"
    known = {key.id for key in keys}
    lost = sorted((facts.database.key_ids or frozenset()) - known)
    if lost:
        return Grade.FAILURE, f"lack {', '.join(lost)}, under which stored values are sealed"
    if (sealed := facts.database.seals.get(keys[0].id, 0)) >= MOST_SEALS:
        return (
            Grade.WARNING,
            f"write with {keys[0].id}, which has sealed {sealed:,} values; rotate to a new key before 2^32",
        )
    unused = sorted(known - {keys[0].id} - (facts.database.key_ids or frozenset()))
    if unused and facts.database.key_ids:
        return (
            Grade.OK,
            f"write with {keys[0].id}; {', '.join(unused)} can be removed, nothing is sealed under it",
        )
    return Grade.OK, f"write with {keys[0].id}"


def _checksums(facts: Facts) -> Finding:
    if failures := facts.database.checksum_failures:
        return (
            Grade.FAILURE,
            f"failed {failures} times: pages of this database are damaged; restore them from a backup",
        )
    if not facts.database.checksums and facts.settings.production:
        return Grade.WARNING, "are off: damaged pages are not noticed"
    return Grade.OK, "are on and none has failed" if facts.database.checksums else "are off"


def _stored_batches(facts: Facts) -> Finding:
    damaged = facts.damaged_batches
    if not damaged:
        return Grade.OK, f"can be read: checked the {facts.checked_batches:,} newest"
    named = ", ".join(f"{each.batch} ({each.reason})" for each in damaged[:MOST_NAMED])
    more = f" and {len(damaged) - MOST_NAMED:,} more" if len(damaged) > MOST_NAMED else ""
    return Grade.FAILURE, (
        f"are damaged, {len(damaged):,} of the {facts.checked_batches:,} newest: {named}{more}; "
        "see Damaged data in docs/operations.md"
    )


def _damaged(facts: Facts) -> Finding:
    if not facts.database.damaged:
        return Grade.OK, "were not found among sealed values"
    places = [
        f"{name} ({'a page cannot be read' if rows is None else rows})"
        for name, rows in sorted(facts.database.damaged.items())
    ]
    return Grade.FAILURE, f"were found: {', '.join(places)}; what they hold cannot be sent or used"


def _balance(facts: Facts) -> Finding:
    last = facts.database.balance
    if last is None:
        return Grade.OK, "was not checked yet; workers check it each hour, `balance` now"
    if last.imbalance:
        return (
            Grade.FAILURE,
            f"is off for {last.imbalance:,} events: {sentence(last.mismatches[0])} Run `balance` for all.",
        )
    age = facts.database.now - last.finished_at
    if age > OLDEST_BALANCE:
        hours = age.total_seconds() / 3600
        return Grade.WARNING, f"was last checked {hours:.0f} hours ago: is no worker running?"
    return Grade.OK, f"adds up, as checked at {last.finished_at:%Y-%m-%d %H:%M} UTC"


def _amazon(facts: Facts) -> Finding:
    settings = facts.settings
    if settings.amazon_base_url is not None:
        return Grade.OK, "is replaced by a stand-in"
    if settings.amazon_client_id and settings.amazon_client_secret:
        return Grade.OK, "credentials are set"
    grade = Grade.FAILURE if settings.production else Grade.WARNING
    return grade, "credentials are missing: set AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET"


def _public_url(facts: Facts) -> Finding:
    parts = urlsplit(facts.settings.public_url)
    back = f"{facts.settings.public_url}/oauth/amazon/callback"
    if facts.settings.production and parts.hostname in {"localhost", "127.0.0.1", "::1"}:
        return Grade.FAILURE, "names this machine itself, where no browser comes back after signing in"
    return Grade.OK, f"makes {back} the address to allow at Amazon"


def _admin(facts: Facts) -> Finding:
    key = facts.settings.bootstrap_admin_key
    if key is not None and is_weak_admin_key(key):
        grade = Grade.FAILURE if facts.settings.production else Grade.WARNING
        return grade, "can be guessed: it is short, repetitive, or made of known words"
    if facts.settings.production and key is not None:
        return Grade.WARNING, "is set and holds every scope: make keys with fewer, then unset it"
    return Grade.OK, "is as this environment warrants"


def _environment(facts: Facts) -> Finding:
    if facts.settings.production:
        return Grade.OK, "is production"
    return Grade.WARNING, "is development: never for real people's events"


CHECKS: Sequence[tuple[str, Check]] = (
    ("APP_ENV", _environment),
    ("database", _version),
    ("fsync", _durable("fsync")),
    ("synchronous_commit", _durable("synchronous_commit")),
    ("full_page_writes", _durable("full_page_writes")),
    ("database role", _role),
    ("max_connections", _connections),
    ("migrations", _migrations),
    ("partitions", _partitions),
    ("clock", _clock),
    ("data checksums", _checksums),
    ("damaged rows", _damaged),
    ("balance", _balance),
    ("stored batches", _stored_batches),
    ("ENCRYPTION_KEYS", _keys),
    ("Amazon", _amazon),
    ("PUBLIC_URL", _public_url),
    ("BOOTSTRAP_ADMIN_KEY", _admin),
)


def examine(facts: Facts) -> list[tuple[Grade, str, str]]:
    """Return grade, subject and words of every check, in their order."""
    return [(*check(facts), subject) for subject, check in CHECKS]


def run(settings: Settings, _asked: argparse.Namespace) -> int:
    """Print every finding; return 1 when one is a failure."""
    try:
        facts = asyncio.run(_read(settings))
    except (OSError, asyncpg.PostgresError, TimeoutError) as problem:
        sys.stdout.write(f"FAILURE  database: cannot be reached ({type(problem).__name__})\n")
        return 1
    found = examine(facts)
    for grade, words, subject in found:
        sys.stdout.write(f"{grade:<8} {subject} {words}\n")
    return int(any(grade is Grade.FAILURE for grade, _, _ in found))


async def _read(settings: Settings) -> Facts:
    assert settings.database_url is not None
    address = settings.database_url.get_secret_value().replace("+asyncpg", "", 1)
    connection = await asyncpg.connect(address, timeout=10)
    try:
        before = datetime.now(UTC)
        database = await read_deployment(connection)
        after = datetime.now(UTC)
        keys_open = database.revision is None or await _keys_open(connection, settings)
        damaged, checked = await _read_batches(connection, settings) if database.days_ahead else ([], 0)
    finally:
        await connection.close(timeout=5)
    # The database read its clock between our two readings: only what lies outside them is skew.
    lag = max(before - database.now, timedelta()) + min(after - database.now, timedelta())
    return Facts(settings, database, lag, migrate.newest(), keys_open, damaged, checked)


async def _keys_open(connection: asyncpg.Connection, settings: Settings) -> bool:
    """Return whether the encryption keys open a secret of the database, if it has one."""
    sealed = await connection.fetchval("SELECT sealed FROM secrets WHERE name = 'content_pepper'")
    if sealed is None or not settings.named_keys:
        return True
    try:
        Vault(settings.named_keys).open(sealed, place="secrets/content_pepper")
    except CannotDecrypt:
        return False
    return True


async def _read_batches(connection: asyncpg.Connection, settings: Settings) -> tuple[list[DamagedBatch], int]:
    """Return which of the newest batches cannot be read, and how many were checked."""
    vault = Vault(settings.named_keys) if settings.named_keys else None
    newest: int = await connection.fetchval("SELECT last_value FROM batch_ids")
    opens = None if vault is None else partial(opens_under, vault)
    damaged: list[DamagedBatch] = []
    checked = 0
    async for portion in check(connection, first=max(1, newest - CHECKED_BATCHES + 1), opens=opens):
        damaged += portion.damaged
        checked += portion.batches
    return damaged, checked
