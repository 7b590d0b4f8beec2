"""Rotating encryption keys, and keys that are wrong or missing."""

import asyncio
import base64
import hashlib
import os
import subprocess
from collections.abc import Callable

import asyncpg
import pytest
from pydantic import SecretStr

from app.commands.rotate_keys import rotate
from app.crypto import NamedKey, Vault
from app.processes.resources import open_resources
from app.settings import Settings
from app.store import encryption
from app.store.database.deployment import read_deployment
from dev.postgres.postmaster import free_port
from tests.pipeline import fork_server

OLD, NEW, LOST = (NamedKey(name, name.encode()[:1] * 32) for name in ("old", "new", "lost"))


def settings_of(url: str, *keys: NamedKey) -> Settings:
    written = ",".join(f"{key.id}:{base64.b64encode(key.key).decode()}" for key in keys)
    made: Settings = Settings.model_construct(database_url=SecretStr(url), encryption_keys=SecretStr(written))
    return made


async def furnish(connection: asyncpg.Connection, seal: Callable[..., bytes], batches: int) -> None:
    """Put a sealed value into every column that takes one."""
    destination = "dst_0123456789abcdefghij"
    await connection.execute("INSERT INTO lanes (region, advertiser_id) VALUES ('NA', '1')")
    await connection.execute(
        "INSERT INTO destinations (id, lane, name, advertiser_id, region, currency) "
        "VALUES ($1, 1, 'a', '1', 'NA', 'USD')",
        destination,
    )
    place = {one.table + "." + one.column: one.place for one in encryption.COLUMNS}
    await connection.execute(
        "INSERT INTO sign_ins (destination, refresh_token, access_token, connected_by) "
        "VALUES ($1, $2, $3, 'k')",
        destination,
        seal(b"refresh", place=place["sign_ins.refresh_token"](destination)),
        seal(b"access", place=place["sign_ins.access_token"](destination)),
    )
    await connection.execute(
        "INSERT INTO oauth_states (state_hash, destination, key_id, code_verifier, expires_at) "
        "VALUES ($1, $2, 'k', $3, now())",
        b"h" * 32,
        destination,
        seal(b"verifier", place=place["oauth_states.code_verifier"](b"h" * 32)),
    )
    era = "era_0123456789abcdefghij"
    await connection.execute(
        "INSERT INTO erasures (id, requested_by, kinds, sealed) VALUES ($1, 'k', '{email}', $2)",
        era,
        seal(b"values", place=place["erasures.sealed"](era)),
    )
    await connection.executemany(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, "
        "data_key) VALUES ($1, current_date, 1, 1, 1, now(), now(), $2)",
        [
            (number, seal(b"d" * 32, place=place["batch_states.data_key"](number)))
            for number in range(1, batches + 1)
        ],
    )


async def opens(connection: asyncpg.Connection, vault: Vault) -> int:
    """Open every sealed value with these keys; return how many there are."""
    number = 0
    for column in encryption.COLUMNS:
        for row in await connection.fetch(
            f"SELECT {column.key} AS key, {column.column} AS value FROM {column.table}"
        ):
            vault.open(bytes(row["value"]), place=column.place(row["key"]))
            number += 1
    return number


async def test_everything_is_sealed_anew_and_the_old_key_can_go(
    database_url: str, owner: asyncpg.Connection
) -> None:
    """Stopped after the second batch and run again: nothing is lost, nothing is done twice."""
    # The first opening makes the pepper, sealed under the old key.
    async with open_resources(settings_of(database_url, OLD), role="test", pool_size=1):
        pass
    await furnish(owner, Vault([OLD]).seal, 1_200)
    settings = settings_of(database_url, NEW, OLD)
    async with open_resources(settings, role="test", pool_size=1) as resources:
        async for progress in rotate(resources):
            if progress.column.table == "batch_states" and progress.done:
                break
        done = 0
        async for progress in rotate(resources):
            done += progress.of if not progress.done else 0
        assert done == 700
    assert (await read_deployment(owner)).key_ids == {"new"}
    assert await opens(owner, Vault([NEW])) == 1_205


async def test_what_does_not_open_is_left_and_named(database_url: str, owner: asyncpg.Connection) -> None:
    """A key that was removed too early: everything else is sealed anew all the same."""
    await furnish(owner, Vault([OLD]).seal, 3)
    stray = Vault([LOST]).seal(b"d" * 32, place="batch:2")
    await owner.execute("UPDATE batch_states SET data_key = $1 WHERE batch = 2", stray)
    async with open_resources(settings_of(database_url, NEW, OLD), role="test", pool_size=1) as resources:
        lost = {one for progress in [p async for p in rotate(resources)] for one in progress.lost}
    assert lost == {"batch_states under lost"}
    assert (await read_deployment(owner)).key_ids == {"new", "lost"}
    assert await owner.fetchval("SELECT data_key FROM batch_states WHERE batch = 2") == stray


async def test_damaged_values_are_named_and_the_others_sealed_anew(
    database_url: str, owner: asyncpg.Connection
) -> None:
    """A value that names no key, an empty one, and a row that cannot be written."""
    await furnish(owner, Vault([OLD]).seal, 6)
    await owner.execute("UPDATE batch_states SET data_key = '\\x03ff' WHERE batch = 2")
    await owner.execute("UPDATE batch_states SET data_key = '' WHERE batch = 3")
    async with open_resources(settings_of(database_url, NEW, OLD), role="test", pool_size=1) as resources:
        lost = {one for progress in [p async for p in rotate(resources)] for one in progress.lost}
    assert lost == {"batch_states under a damaged name"}
    facts = await read_deployment(owner)
    assert (facts.key_ids, facts.damaged) == ({"new"}, {"batch_states.data_key": 2})


async def test_no_sealed_column_is_forgotten(owner: asyncpg.Connection) -> None:
    """Every bytea of the schema is either in the table of sealed columns, or known to be no such thing."""
    plain = {
        ("api_keys", "digest"), ("audit", "hash"), ("audit", "prev_hash"), ("console_sessions", "digest"),
        ("console_sessions", "key_digest"), ("logout_tokens", "digest"),
        ("ledger", "content"), ("ledger", "key"),
        ("mapped_duplicates", "key"), ("oauth_states", "state_hash"), ("schema_samples", "content"),
        ("schema_fingerprints", "content"),
        ("batches", "content"),
        ("batches", "shapes"),
        ("id_digests", "digests"),
        ("notifications", "body"),  # codes and counts
    }  # fmt: skip
    rows = await owner.fetch(
        "SELECT table_name AS t, column_name AS c FROM information_schema.columns c "
        "JOIN pg_class k ON k.relname = c.table_name AND NOT k.relispartition "
        "WHERE table_schema = 'public' AND data_type = 'bytea'"
    )
    sealed = {(one.table, one.column) for one in encryption.COLUMNS}
    assert {(row["t"], row["c"]) for row in rows} == sealed | plain


# Of each way in which a command opens the database, one.
COMMANDS = ("serve", "work", "keys list", "export")


def key(word: str) -> str:
    return base64.b64encode(hashlib.sha256(word.encode()).digest()).decode()


def run(database_url: str, command: str, keys: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "ENCRYPTION_KEYS": keys,
        "BOOTSTRAP_ADMIN_KEY": "an-admin-key-for-tests-0123456789abcdef",
        "AMAZON_CLIENT_ID": "client",
        "PORT": str(free_port()),
    }
    return fork_server.run(command.split(), environment)


@pytest.mark.parametrize(("wrong", "commands"), [("k1", COMMANDS), ("k2", COMMANDS[:1])])
@pytest.mark.process
async def test_every_command_says_so_in_one_sentence(
    database_url: str, wrong: str, commands: tuple[str, ...]
) -> None:
    """Another key under the same id, and a key under another id. Exit code 2, no traceback, no key shown."""
    right = Settings(database_url=database_url, encryption_keys=f"k1:{key('right')}")
    async with open_resources(right, role="worker", pool_size=1):
        pass
    for command in commands:
        ended = await asyncio.to_thread(run, database_url, command, f"{wrong}:{key('wrong')}")
        assert ended.returncode == 2, (command, ended.stdout, ended.stderr)
        assert "ENCRYPTION_KEYS: they cannot decrypt the database's secret" in ended.stderr, command
        assert "Traceback" not in ended.stderr + ended.stdout, command
        assert key("wrong") not in ended.stderr + ended.stdout
    doctor = await asyncio.to_thread(run, database_url, "doctor", f"{wrong}:{key('wrong')}")
    assert "FAILURE  ENCRYPTION_KEYS cannot decrypt the database's secret" in doctor.stdout
    assert doctor.returncode == 1
