"""The blocks of the runbooks run as written, against a service: commands, requests and SQL."""

import asyncio
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app import cli
from tests.pipeline.served import ADMIN, served_world
from tests.pipeline.world import event, settings_of

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
# They report what is wrong by their exit code: here no process listens on a monitoring port.
REPORTS = ("health", "doctor")
CHANGES = ("pause", "resume", "acknowledge", "publish", "rollback", "apply", "erase")


def blocks(language: str) -> Iterator[str]:
    """Yield the blocks of a language in all runbooks."""
    for page in sorted(RUNBOOKS.glob("*.md")):
        for block in re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```", page.read_text()):
            yield re.sub(r"(?m)^   ", "", block)


LINES = sorted({line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()})


def test_a_check_changes_nothing() -> None:
    """The person on call may run every block."""
    assert len(LINES) > 15
    for line in LINES:
        assert not set(line.split()) & set(CHANGES), line
        assert "replay" not in line or "--dry-run" in line
        assert " -X" not in line
        assert " -d" not in line


@pytest.mark.process
async def test_every_command_runs_as_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each line once, in one service with an accepted event."""
    settings = settings_of(database_url)
    async with served_world(database_url) as (world, port):
        destination = await world.destination(event(1))
        known = {
            "API": f"http://127.0.0.1:{port}", "KEY": ADMIN, "DESTINATION": destination, "EVENT_ID": "ord-1",
            "PATH": "/usr/bin:/bin",
        }  # fmt: skip
        assert settings.encryption_keys is not None
        for name, value in {
            "DATA_DIR": str(tmp_path), "DATABASE_URL": database_url, "PORT": str(port),
            "BOOTSTRAP_ADMIN_KEY": ADMIN,
            "ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(), "AMAZON_CLIENT_ID": "example",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for line in LINES:
            words = [re.sub(r"\$(\w+)", lambda found: known[found[1]], word) for word in shlex.split(line)]
            if words[0] == "curl":
                done = await asyncio.create_subprocess_exec(*words, env=known, stdout=subprocess.PIPE)
                output, _ = await done.communicate()
                # The database of a test is not durable, which makes a service not ready.
                is_answer = b'"error"' not in output or b'"fsync_off"' in output
                assert (done.returncode, is_answer) == (0, True), (line, output)
                continue
            assert words[0] == "./run", line
            code = await asyncio.to_thread(cli.main, words[1:])
            output_and_errors = "".join(capsys.readouterr())
            assert code == 0 or (words[1] in REPORTS and code == 1), (line, code, output_and_errors)


async def test_every_statement_runs_as_written(owner: asyncpg.Connection) -> None:
    """On the service's own schema, in a transaction that cannot change anything."""
    statements = set(blocks("sql"))
    assert len(statements) >= 5
    async with owner.transaction(readonly=True):
        for statement in statements:
            await owner.fetch(statement)
