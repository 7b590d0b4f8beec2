"""The facts that `doctor` checks, read as the processes of this deployment would read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg

from app.crypto import CannotDecrypt, Vault, open_batch
from app.domain.notifications import DeclaredChannel
from app.processes.resources import connected_as
from app.settings import Settings
from app.store.database import damage, privileges, schema_revision
from app.store.database.damage import DamagedBatch
from app.store.database.deployment import Deployment, read_deployment
from app.store.encryption import read_secret, secret_place
from app.store.errors import DRIVER_ERRORS, connection_problem
from app.store.incidents import notifications
from app.store.organisations.scope import sees_every_organisation

CHECKED_BATCHES = 2_000
_PEPPER = "content_pepper"  # the name of a secret


@dataclass(frozen=True, slots=True)
class Facts:
    """The input of the checks.

    `lag` is the time of this machine's clock minus the time of the database's clock. `newest` is the newest
    revision of the migrations. `keys_open` is false if ENCRYPTION_KEYS cannot decrypt the secret of this
    database.
    """

    settings: Settings
    database: Deployment
    lag: timedelta
    newest: str
    keys_open: bool = True
    damaged_batches: Sequence[DamagedBatch] = ()
    checked_batches: int = 0
    # Whether a session keeps the settings with which it was opened.
    keeps_settings: bool = True
    # Why a worker cannot connect, or None.
    worker_problem: str | None = None
    # What the roles of API and worker may not do, although they need it.
    lacking: Sequence[str] = ()
    # The notification channels that a running process has.
    declared_channels: Sequence[DeclaredChannel] = ()


async def read(settings: Settings) -> Facts:
    """Read the facts with the sessions of an API process and of a worker. Changes nothing."""
    async with connected_as(settings, "api") as connection:
        keeps_settings = await sees_every_organisation(connection)
        before = datetime.now(UTC)
        database = await read_deployment(connection)
        after = datetime.now(UTC)
        keys_open = database.revision is None or await _keys_open(connection, settings)
        is_current = database.revision == schema_revision.required()
        lacks = await privileges.lacking(connection, "api") if is_current else []
        channels = await notifications.declared(connection) if is_current else []
        damaged, checked = await _read_batches(connection, settings) if database.days_ahead else ([], 0)
    # The database read its clock between `before` and `after`. A time between these two counts as no
    # difference.
    lag = max(before - database.now, timedelta()) + min(after - database.now, timedelta())
    worker_problem, worker_lacks = await _worker(settings, is_current=is_current)
    if settings.database_for("api") == settings.database_for("worker"):
        # A container of one role has no other URL: its role has the privileges of the API or of a worker.
        lacks, worker_lacks = min(lacks, worker_lacks, key=len), []
    return Facts(
        settings,
        database,
        lag,
        schema_revision.required(),
        keys_open,
        damaged,
        checked,
        keeps_settings,
        worker_problem,
        [*lacks, *worker_lacks],
        channels,
    )


async def lacking(settings: Settings) -> list[str]:
    """Return which privileges the role of DATABASE_URL lacks, as that of an API process or of a worker."""
    async with connected_as(settings, "api") as connection:
        as_api = await privileges.lacking(connection, "api")
        return min(as_api, await privileges.lacking(connection, "worker"), key=len)


async def _worker(settings: Settings, *, is_current: bool) -> tuple[str | None, list[str]]:
    """Return why a worker cannot connect, or None, and which privileges its role lacks."""
    try:
        async with connected_as(settings, "worker") as connection:
            return None, await privileges.lacking(connection, "worker") if is_current else []
    except (*DRIVER_ERRORS, TimeoutError) as error:
        return connection_problem(error) or type(error).__name__, []


async def _keys_open(connection: asyncpg.Connection, settings: Settings) -> bool:
    """Return whether ENCRYPTION_KEYS can decrypt the secret of the database.

    Return true if either is missing.
    """
    sealed = await read_secret(connection, _PEPPER)
    if sealed is None or not settings.named_keys:
        return True
    try:
        Vault(settings.named_keys).open(sealed, place=secret_place(_PEPPER))
    except CannotDecrypt:
        return False
    return True


async def _read_batches(connection: asyncpg.Connection, settings: Settings) -> tuple[list[DamagedBatch], int]:
    """Return the damaged batches among the newest 2,000, and the number of checked batches."""
    vault = Vault(settings.named_keys) if settings.named_keys else None
    newest = await damage.newest_batch(connection)
    opens = None if vault is None else partial(open_batch, vault=vault)
    return await damage.check(connection, first=max(1, newest - CHECKED_BATCHES + 1), opens=opens)
