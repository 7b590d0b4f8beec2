"""Keys that do not belong to the database end every command with one sentence."""

import asyncio
import base64
import hashlib
import os
import subprocess

import pytest

from app.processes.resources import open_resources
from app.settings import Settings
from dev.postgres.postmaster import free_port
from tests.pipeline import fork_server

pytestmark = pytest.mark.process

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
