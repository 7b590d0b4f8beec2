"""`doctor` finds each fault, and only that one. More: test_doctor_misconfigurations.py."""

import base64
import hashlib
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from pydantic import SecretStr

from app.commands.doctor import Grade, examine
from app.commands.doctor_facts import Facts
from app.domain.ids import BatchId
from app.settings import Settings
from app.store.database.backups import SLOT, BackupState
from app.store.database.damage import DamagedBatch
from app.store.database.deployment import Deployment, read_deployment
from app.store.encryption import note_key
from tests.databases import connected
from tests.tables import cases


def backed_up(retained_bytes: float | None = None, *, receives: bool = True) -> BackupState:
    """The state after a base backup of today, with a slot unless `retained_bytes` is None."""
    return BackupState(
        datetime(2026, 11, 24, tzinfo=UTC), retained_bytes=retained_bytes, has_receiver=receives
    )


KEYS = SecretStr(
    ",".join(
        f"{name}:{base64.b64encode(hashlib.sha256(b'test').digest()).decode()}" for name in ("new", "old")
    )
)
HEALTHY = Facts(
    settings=Settings.model_construct(
        app_env="production",
        public_url="https://events.example.com",
        encryption_keys=KEYS,
        amazon_client_id="client",
        amazon_client_secret=SecretStr("secret"),
    ),
    database=Deployment(
        version=180_001,
        fsync="on",
        synchronous_commit="on",
        full_page_writes="on",
        max_connections=100,
        superuser=False,
        now=datetime(2026, 11, 24, tzinfo=UTC),
        revision="0001",
        days_ahead=7,
        key_ids=frozenset({"new", "old"}),
        backups=BackupState(base_verified_at=datetime(2026, 11, 23, 12, tzinfo=UTC)),
    ),
    lag=timedelta(),
    newest="0001",
)


def found(facts: Facts) -> dict[str, Grade]:
    return {subject: grade for grade, _, subject in examine(facts) if grade is not Grade.OK}


@pytest.mark.parametrize(
    ("fact", "value", "subject", "grade"),
    [
        ("synchronous_commit", "off", "synchronous_commit", Grade.FAILURE),
        ("synchronous_commit", "local", "synchronous_commit", Grade.FAILURE),
        ("version", 140_012, "database", Grade.FAILURE),
        ("max_connections", 53, "max_connections", Grade.WARNING),
        ("api_sessions", 61, "max_connections", Grade.WARNING),
        ("workers", 5, "max_connections", Grade.WARNING),
        ("revision", None, "migrations", Grade.FAILURE),
        ("checksums", False, "data checksums", Grade.WARNING),
        ("checksum_failures", 2, "data checksums", Grade.FAILURE),
        ("damaged", {"batch_states.data_key": None}, "damaged rows", Grade.FAILURE),
        ("stored_batches", 1_004, "stored batches", Grade.WARNING),
        ("backups", backed_up(2**27), f"replication slot {SLOT}", Grade.WARNING),
        ("backups", backed_up(math.inf, receives=False), f"replication slot {SLOT}", Grade.WARNING),
        ("encryption_keys", None, "ENCRYPTION_KEYS", Grade.FAILURE),
        ("bootstrap_admin_key", SecretStr("k" * 32), "BOOTSTRAP_ADMIN_KEY", Grade.FAILURE),
        ("encryption_keys", SecretStr(f"new:{'A' * 43}="), "ENCRYPTION_KEYS", Grade.FAILURE),
    ],
)
def test_a_wrong_fact_is_found(fact: str, value: object, subject: str, grade: Grade) -> None:
    """One fact of the database or one setting changed, one finding more."""
    if hasattr(HEALTHY.database, fact):
        changed = replace(HEALTHY, database=replace(HEALTHY.database, **{fact: value}))
    else:
        changed = replace(HEALTHY, settings=HEALTHY.settings.model_copy(update={fact: value}))
    assert found(changed) == {subject: grade}


def test_the_remedy_of_missing_checksums_says_that_postgres_must_be_stopped() -> None:
    """pg_checksums refuses to run on the data directory of a running server."""
    without = replace(HEALTHY, database=replace(HEALTHY.database, checksums=False))
    (text,) = [text for grade, text, _ in examine(without) if grade is not Grade.OK]
    assert text == (
        "are off: damaged pages are not detected; stop Postgres, run pg_checksums --enable on its data "
        "directory, and start it again"
    )


@cases(
    "state",
    {
        "a receiver that follows": backed_up(2**20),
        "another program archives": BackupState(wal_archived_at=datetime(2026, 11, 24, tzinfo=UTC)),
        "another program since then": BackupState(
            datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
        ),
    },
)
def test_working_backups_are_no_finding(state: BackupState) -> None:
    """Also those of a provider, which the command does not record."""
    # Also after the way back from a newer release, which migrated.
    database = replace(HEALTHY.database, backups=state, revision="0002")
    assert found(replace(HEALTHY, database=database)) == {}


def test_a_finding_of_damage_says_what_to_do() -> None:
    """Not only which page does."""
    damaged = replace(
        HEALTHY,
        database=replace(HEALTHY.database, damaged={"sign_ins.refresh_token": 1}),
        damaged_batches=[DamagedBatch(BatchId(7), "missing")],
        checked_batches=9,
    )
    sentences = {subject: text for grade, text, subject in examine(damaged) if grade is Grade.FAILURE}
    assert sentences.keys() == {"damaged rows", "stored batches"}
    for text in sentences.values():
        assert "fail over to a replica or restore a backup" in text
        assert ".md" not in text


def keys_finding(facts: Facts) -> str:
    return next(text for _, text, subject in examine(facts) if subject == "ENCRYPTION_KEYS")


@cases(
    "unread",
    {
        "hidden by row-level security": {"sees_every_row": False},
        "none of the stored batches was read": {"stored_batches": 1_004},
        "on a damaged page": {"damaged": {"batch_states.data_key": None}},
    },
)
def test_a_key_may_be_removed_only_if_every_stored_value_was_read(unread: dict[str, object]) -> None:
    """The events that a removed key encrypts are lost."""
    rotated = replace(HEALTHY.database, key_ids=frozenset({"new"}))
    assert "old encrypts nothing and can be removed" in keys_finding(replace(HEALTHY, database=rotated))
    partly_read = replace(HEALTHY, database=replace(rotated, **unread))
    assert "can be removed" not in keys_finding(partly_read)
    assert "keep old" in keys_finding(partly_read)


def test_a_pooler_that_drops_the_settings_of_a_session_is_a_failure() -> None:
    """PgBouncer does so with `ignore_startup_parameters`, also for the owner, who sees every row."""
    assert found(replace(HEALTHY, keeps_settings=False)) == {"database sessions": Grade.FAILURE}


async def test_seals_are_bounded_by_the_batches_since_a_key_was_first_used(owner: asyncpg.Connection) -> None:
    """A key that comes later counts from the oldest batch that is still stored."""
    await note_key(owner, "first")
    await owner.execute("SELECT setval('batch_ids', 5000)")
    await note_key(owner, "first")
    await note_key(owner, "second")
    await owner.execute("SELECT setval('batch_ids', 5007)")
    assert (await read_deployment(owner)).seals == {"first": 5006, "second": 7}


async def test_an_empty_database_is_read_too(empty_database_url: str) -> None:
    """Before the first migration there is nothing to say of partitions and keys."""
    async with connected(empty_database_url) as connection:
        facts = await read_deployment(connection)
    assert (facts.revision, facts.days_ahead, facts.key_ids) == (None, None, None)


@pytest.mark.parametrize("value", [b"", b"\x00" * 60, b"\x05\xff\xfe\x00ab" + bytes(40), b"\x04k1"])
async def test_a_row_without_a_key_name_is_a_damaged_row(owner: asyncpg.Connection, value: bytes) -> None:
    """Not a key of a blank or garbled name that ENCRYPTION_KEYS lack."""
    await owner.execute("INSERT INTO secrets VALUES ('damaged', $1)", value)
    await owner.execute("INSERT INTO secrets VALUES ('sound', $1)", b"\x03new" + bytes(40))
    facts = await read_deployment(owner)
    assert facts.key_ids == {"new"}
    assert facts.damaged == {"secrets.sealed": 1}
