"""`doctor`: check that the deployment is healthy and safely configured.

The command reads facts once and runs each check as a pure function of them. A FAILURE means that events may
be lost, refused or exposed. A warning needs attention.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from asyncpg import InsufficientPrivilegeError

from app.commands.balance import sentence
from app.commands.doctor_facts import Facts, lacking, read
from app.domain import installation
from app.domain.quantity import quantity
from app.domain.weak_secrets import is_weak_password
from app.settings import Settings, weak_key_ids
from app.store.database.backups import SLOT
from app.store.errors import DRIVER_ERRORS, connection_problem

MIN_POSTGRES_VERSION = 150_000
MAX_SKEW = timedelta(seconds=2)
# docs/sizing.md says what they are for.
API_CONNECTIONS, WORKER_CONNECTIONS, OTHER_CONNECTIONS = 20, 14, 20
MAX_LISTED = 5
_REPAIR = "replace the disk, and fail over to a replica or restore a backup"


class Grade(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILURE = "FAILURE"


Finding = tuple[Grade, str]
Check = Callable[[Facts], Finding]


def _durable(name: str) -> Check:
    def check(facts: Facts) -> Finding:
        value = getattr(facts.database, name)
        # With remote_apply and remote_write, a commit waits for the local disk and for replicas.
        if value in {"on", "remote_apply", "remote_write"}:
            return Grade.OK, f"is {value}"
        return Grade.FAILURE, f"is {value}: a power failure can lose events answered with 202; set it to on"

    return check


def _version(facts: Facts) -> Finding:
    major = facts.database.version // 10_000
    if facts.database.version < MIN_POSTGRES_VERSION:
        return Grade.FAILURE, f"is Postgres {major}; 15 or newer is required"
    if facts.database.is_read_only:
        return Grade.FAILURE, (
            "accepts no writes, as a standby: name the primary in the URL, or all servers with "
            "?target_session_attrs=read-write"
        )
    return Grade.OK, f"is Postgres {major}"


def _role(facts: Facts) -> Finding:
    if facts.database.superuser and facts.settings.production:
        return Grade.WARNING, "is a superuser; give API and workers roles of their own (`database-roles`)"
    if facts.database.owner and facts.settings.production:
        return Grade.WARNING, (
            "owns the tables, so the API can change the audit: set MIGRATION_DATABASE_URL to the owner, "
            "DATABASE_URL and WORKER_DATABASE_URL to other roles (`database-roles`)"
        )
    return Grade.OK, "has acceptable privileges for this environment"


def _row_security(facts: Facts) -> Finding:
    if tables := facts.database.unprotected:
        return Grade.FAILURE, (
            f"is off for {_listed(tables)}, so organisations are not separated there: run ALTER TABLE … "
            "ENABLE ROW LEVEL SECURITY as the owner"
        )
    return Grade.OK, "separates organisations"


def _connections(facts: Facts) -> Finding:
    # Other machines run processes too, each of them with at most API_CONNECTIONS sessions.
    apis = max(facts.settings.api_processes, math.ceil(facts.database.api_sessions / API_CONNECTIONS))
    workers = max(facts.settings.worker_processes, facts.database.workers)
    wanted = apis * API_CONNECTIONS + workers * WORKER_CONNECTIONS + OTHER_CONNECTIONS
    processes = f"{quantity(apis, 'API process', 'API processes')} and {quantity(workers, 'worker')}"
    if wanted > (offered := facts.database.max_connections):
        return Grade.WARNING, f"allows {offered}; {processes} need {wanted}: raise it"
    return Grade.OK, f"allows {offered}; {processes} need {wanted}"


def _migrations(facts: Facts) -> Finding:
    revision = facts.database.revision or "no revision"
    if facts.database.revision is None or revision < facts.newest:
        return Grade.FAILURE, f"are at {revision}; this version needs {facts.newest}: run migrate"
    return Grade.OK, f"are at {revision}{' of a newer release' if revision > facts.newest else ''}"


def _clock(facts: Facts) -> Finding:
    if abs(facts.lag) <= MAX_SKEW:
        return Grade.OK, "agrees with the database's"
    return Grade.WARNING, (
        f"differs from the database's by {facts.lag.total_seconds():+.0f} s: synchronise both clocks; beyond "
        f"{installation.MOST_SKEW_S:.0f} s no process is ready"
    )


def _partitions(facts: Facts) -> Finding:
    ahead = facts.database.days_ahead
    if ahead is None or ahead >= installation.MIN_DAYS_AHEAD:
        return Grade.OK, f"exist {quantity(ahead, 'day')} ahead" if ahead else "do not exist yet"
    if ahead < 0:
        return Grade.WARNING, "do not exist for today; start a worker, which creates them"
    return Grade.FAILURE, f"exist only {quantity(ahead, 'day')} ahead: check that a worker is running"


def _keys(facts: Facts) -> Finding:
    keys = facts.settings.named_keys
    if not keys:
        return Grade.FAILURE, "are not set"
    if not facts.keys_open:
        return Grade.FAILURE, "cannot decrypt the database's secret: set the keys that encrypted it"
    if weak := weak_key_ids(keys):
        grade = Grade.FAILURE if facts.settings.production else Grade.WARNING
        return grade, f"contain {', '.join(weak)}, which is not random: rotate to a random key"
    known = {key.id for key in keys}
    lost = sorted((facts.database.key_ids or frozenset()) - known)
    if lost:
        return Grade.FAILURE, f"lack {', '.join(lost)}, which encrypts stored values: add it again"
    if installation.must_rotate(sealed := facts.database.seals.get(keys[0].id, 0)):
        text = f"use {keys[0].id}, which has encrypted {sealed:,} values: rotate to a new key before 2^32"
        return Grade.WARNING, text
    unused = ", ".join(sorted(known - {keys[0].id} - (facts.database.key_ids or frozenset())))
    if unused and facts.database.key_ids:
        if not _reads_everything(facts):
            return Grade.WARNING, f"use {keys[0].id}; not all stored values were read, so keep {unused}"
        return Grade.OK, f"use {keys[0].id}; {unused} encrypts nothing and can be removed"
    return Grade.OK, f"use {keys[0].id}"


def _checksums(facts: Facts) -> Finding:
    if failures := facts.database.checksum_failures:
        return Grade.FAILURE, (
            f"failed {quantity(failures, 'time')}: pages of this database are damaged; restore from a backup"
        )
    if not facts.database.checksums and facts.settings.production:
        return Grade.WARNING, (
            "are off: damaged pages are not detected; stop Postgres, run pg_checksums --enable on its data "
            "directory, and start it again"
        )
    return Grade.OK, "are on, without failures" if facts.database.checksums else "are off"


def _reads_everything(facts: Facts) -> bool:
    """Return whether the checks saw each stored value: no row is hidden, and no page is damaged."""
    database = facts.database
    is_hidden = not database.sees_every_row or (database.stored_batches and not facts.checked_batches)
    return not is_hidden and not facts.damaged_batches and None not in database.damaged.values()


def _sessions(facts: Facts) -> Finding:
    if not facts.keeps_settings:
        return Grade.FAILURE, (
            "do not keep their settings: connect to Postgres directly, not through a pooler such as PgBouncer"
        )
    if facts.lacking:
        return Grade.FAILURE, _lack(facts.lacking)
    if facts.worker_problem is not None:
        text = f"of workers cannot be opened: {facts.worker_problem}; check WORKER_DATABASE_URL"
        return Grade.FAILURE, text
    return Grade.OK, "are opened as API and workers open theirs"


def _lack(privileges: Sequence[str]) -> str:
    return f"lack privileges ({_listed(privileges)}): run migrate, which grants them"


def _stored_batches(facts: Facts) -> Finding:
    damaged = facts.damaged_batches
    if not facts.checked_batches:
        if stored := facts.database.stored_batches:
            return Grade.WARNING, f"were not checked: 0 of about {stored:,} could be read"
        return Grade.OK, "are none yet"
    if not damaged:
        return Grade.OK, f"are readable: checked the {facts.checked_batches:,} newest"
    named = _listed([f"{each.batch} ({each.reason})" for each in damaged])
    return Grade.FAILURE, (
        f"are damaged, {len(damaged):,} of the {facts.checked_batches:,} newest: {named}; {_REPAIR}, then "
        "replay the events with reason unreadable within 7 days"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def _damaged(facts: Facts) -> Finding:
    if not facts.database.damaged:
        return Grade.OK, "were not found"
    places = [
        f"{name} ({'unreadable page' if rows is None else rows})"
        for name, rows in sorted(facts.database.damaged.items())
    ]
    return Grade.FAILURE, (
        f"were found: {', '.join(places)}; their content cannot be used: {_REPAIR}. Without one, connect "
        "damaged sign_ins again and request damaged erasures again"
    )


def _balance(facts: Facts) -> Finding:
    last = facts.database.balance
    if last is None:
        text = "was not checked yet; workers check it every hour, the command `balance` checks it now"
        return Grade.OK, text
    if last.imbalance:
        mismatch = sentence(last.mismatches[0])
        return Grade.FAILURE, (
            f"is wrong for {quantity(last.imbalance, 'event')}: {mismatch} Run `balance` for all."
        )
    if installation.is_balance_old(last.finished_at, facts.database.now):
        hours = (facts.database.now - last.finished_at).total_seconds() / 3600
        return Grade.WARNING, f"was last checked {hours:.0f} hours ago: check that a worker is running"
    return Grade.OK, f"has no mismatches, checked at {last.finished_at:%Y-%m-%d %H:%M} UTC"


def _base_backup(facts: Facts) -> Finding:
    state, now = facts.database.backups, facts.database.now
    last = max(filter(None, (state.base_verified_at, state.wal_archived_at)), default=None)
    if last is None:
        grade = Grade.WARNING if facts.settings.production else Grade.OK
        return grade, "was never recorded: run `backup` every day (docs/backup.md)"
    if now - last > installation.MAX_BACKUP_AGE:
        text = f"was last taken {(now - last).days} days ago: check that `backup` runs every day"
        return Grade.WARNING, text
    if last == state.base_verified_at:
        return Grade.OK, f"was verified at {last:%Y-%m-%d %H:%M} UTC"
    return Grade.OK, f"is left to another program, which archived WAL at {last:%Y-%m-%d %H:%M} UTC"


def _slot(facts: Facts) -> Finding:
    state = facts.database.backups
    if state.retained_bytes is None:
        return Grade.OK, "does not exist, so no WAL is retained for it"
    if math.isinf(state.retained_bytes):
        return Grade.WARNING, "lost WAL that was not received: drop the slot and start `backup --follow`"
    retained = f"retains {state.retained_bytes / 1e6:,.0f} MB of WAL"
    if not state.has_receiver:
        return Grade.WARNING, f"{retained} and has no receiver: start `backup --follow`, or drop the slot"
    if state.retained_bytes > installation.MAX_RETAINED_BYTES:
        return Grade.WARNING, f"{retained}: the receiver is too slow; check its disk and network"
    return Grade.OK, retained


def _amazon(facts: Facts) -> Finding:
    settings = facts.settings
    if settings.amazon_base_url is not None:
        return Grade.OK, "is replaced with a stand-in (AMAZON_BASE_URL)"
    if settings.amazon_client_id and settings.amazon_client_secret:
        return Grade.OK, "credentials are set"
    grade = Grade.FAILURE if settings.production else Grade.WARNING
    return grade, "credentials are missing: set AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET"


def _public_url(facts: Facts) -> Finding:
    parts = urlsplit(facts.settings.public_url)
    callback = f"{facts.settings.public_url}/oauth/amazon/callback"
    if facts.settings.production and parts.hostname in {"localhost", "127.0.0.1", "::1"}:
        return Grade.FAILURE, (
            "is a local address, which browsers cannot reach after signing in at Amazon: set the proxy's"
        )
    return Grade.OK, f"requires {callback} as an allowed return URL of Amazon's application"


def _admin(facts: Facts) -> Finding:
    key = facts.settings.bootstrap_admin_key
    if key is not None and is_weak_password(key.get_secret_value()):
        grade = Grade.FAILURE if facts.settings.production else Grade.WARNING
        return grade, "can be guessed: it is short, repetitive, or contains known words"
    if facts.settings.production and key is not None:
        return Grade.WARNING, "is set and grants every scope: create keys with fewer scopes, then unset it"
    return Grade.OK, "is acceptable for this environment"


def _environment(facts: Facts) -> Finding:
    if facts.settings.production:
        return Grade.OK, "is production"
    return Grade.WARNING, "is development: do not send real people's events"


def _channels(facts: Facts) -> Finding:
    own = {(each.organisation, each.key) for each in facts.settings.notification_channels}
    missing = [each for each in facts.declared_channels if (each.organisation, each.key) not in own]
    if not missing:
        return Grade.OK, f"are known to this process: {len(own)}"
    names = _listed([f"{each.key}@{each.organisation}" for each in missing])
    return Grade.WARNING, f"of other processes are missing here: {names}; set NOTIFY_ settings alike"


CHECKS: Sequence[tuple[str, Check]] = (
    ("APP_ENV", _environment),
    ("database", _version),
    ("fsync", _durable("fsync")),
    ("synchronous_commit", _durable("synchronous_commit")),
    ("full_page_writes", _durable("full_page_writes")),
    ("database role", _role),
    ("database sessions", _sessions),
    ("row-level security", _row_security),
    ("max_connections", _connections),
    ("migrations", _migrations),
    ("partitions", _partitions),
    ("clock", _clock),
    ("data checksums", _checksums),
    ("damaged rows", _damaged),
    ("balance", _balance),
    ("stored batches", _stored_batches),
    ("base backup", _base_backup),
    (f"replication slot {SLOT}", _slot),
    ("ENCRYPTION_KEYS", _keys),
    ("Amazon", _amazon),
    ("notification channels", _channels),
    ("PUBLIC_URL", _public_url),
    ("BOOTSTRAP_ADMIN_KEY", _admin),
)


def examine(facts: Facts) -> list[tuple[Grade, str, str]]:
    """Return (grade, predicate, subject) for each check. The subject and the predicate make a sentence."""
    return [(*check(facts), subject) for subject, check in CHECKS]


async def run(settings: Settings, _asked: argparse.Namespace) -> int:
    """Print the finding of every check. Return 1 if one is a failure."""
    try:
        facts = await read(settings)
    except InsufficientPrivilegeError:
        if lacks := await lacking(settings):
            problem = f"sessions {_lack(lacks)}"
        else:
            problem = (
                "cannot be read with the role of workers, which lacks nothing that workers need: run doctor "
                "where the API runs"
            )
        print(f"FAILURE  database {problem}")
        return 1
    except (*DRIVER_ERRORS, TimeoutError) as error:
        problem = connection_problem(error) or type(error).__name__
        print(f"FAILURE  database: {problem}; check DATABASE_URL")
        return 1
    findings = examine(facts)
    for grade, text, subject in findings:
        print(f"{grade:<8} {subject} {text}")
    return int(any(grade is Grade.FAILURE for grade, _, _ in findings))
